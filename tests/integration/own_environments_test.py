"""Environments from outside the project, trained on and evaluated by name."""

import json
import pathlib
from typing import Any

import pytest

from launch_programs.evaluate import evaluate
from launch_programs.run.run_directory import RunDirectory
from tests.integration.programs import train

# As in the README, with fewer frames, and as many environments on any machine.
CARTPOLE = (
    "--level_name=gym:CartPole-v1",
    "--total_environment_frames=200000",
    "--batch_size=16",
    "--entropy_cost=0.001",
    "--num_actors=1",
    "--environments_per_actor=32",
    "--evaluation_interval=0",
)


def results(logdir: pathlib.Path, number: str = "") -> dict[str, Any]:
    (path,) = logdir.glob(f"evaluation-*[0-9]{number}.json")
    return json.loads(path.read_text())


@pytest.mark.slow
def test_cartpole_is_learned(tmp_path: pathlib.Path) -> None:
    """Random play earns 22; the environment cuts episodes off at 500."""
    logdir = tmp_path / "run"
    out = train(logdir, *CARTPOLE, "--test_num_episodes=30")
    assert "network mlp, " in out
    assert "human-normalised over tasks" not in out
    found = results(logdir)
    (score,) = found["tasks"]
    assert (score["task"], score["episodes"]) == ("gym:CartPole-v1", 30)
    assert score["mean"] >= 100, out
    assert score["random"] is score["human"] is score["human_normalised"] is None
    assert found["human_normalised"] is None


@pytest.mark.slow
def test_two_tasks_are_trained_and_evaluated(tmp_path: pathlib.Path) -> None:
    """The tasks differ in their time limit. --quiet prints only what the program does."""
    logdir = tmp_path / "run"
    names = ["gym:CartPole-v0", "gym:CartPole-v1"]
    flags = ["--launch_type=local_mt", "--num_actors=1", "--environments_per_actor=8"]
    flags += ["--log_interval=0.5", "--quiet"]
    output = train(
        logdir,
        f"--level_name={','.join(names)}",
        "--total_environment_frames=20000",
        "--test_num_episodes=1",
        *flags,
    )
    assert json.loads((logdir / "config.json").read_text())["tasks"] == names
    # Gymnasium warns that CartPole-v0 is old, before this line and in the launcher.
    lines = output[output.index("run directory ") :].splitlines()
    first, second, *table = [line for line in lines if "DeprecationWarning" not in line]
    assert first == f"run directory {logdir}"
    assert second.startswith(f"Evaluating {logdir} at ")
    assert len(table) == 8
    assert table[-2].startswith(f"written to {logdir}/evaluation-")
    assert table[-1] == f"Plots in {logdir}/plots"
    header = (logdir / "learner.csv").read_text().splitlines()[0].split(",")
    assert {f"mu/{name}" for name in names} <= set(header)
    evaluate(RunDirectory(logdir), episodes=2, greedy=False, seed=1, level_name=names[1])
    found = [json.loads(path.read_text()) for path in sorted(logdir.glob("evaluation-*.json"))]
    assert sorted(len(one["tasks"]) for one in found) == [1, 2]
    assert {task["task"] for one in found for task in one["tasks"]} == set(names)
