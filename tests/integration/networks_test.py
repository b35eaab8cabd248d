"""Networks in whole programs: trained, resumed from, grown, evaluated, reported."""

import pathlib

import numpy as np
import pytest

from launch_programs.evaluate import evaluate
from launch_programs.run.checkpointing import restore_policy
from launch_programs.run.metrics import read_rows
from launch_programs.run.run_directory import RunDirectory
from tests.compiling import unoptimised
from tests.integration.programs import run

TOY = (
    "--launch_type=local_mt",  # one process, which takes half the time to start
    "--total_environment_frames=20000",
    "--num_actors=1",
    "--evaluation_interval=0",
    "--test_num_episodes=0",
    "--log_interval=0.5",
)


@pytest.fixture(autouse=True)
def little_to_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in unoptimised().items():
        monkeypatch.setenv(name, value)


def train(path: pathlib.Path, *flags: str) -> str:
    done = run("train", f"--logdir={path}", *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_network_learns_a_second_task_in_a_new_column(tmp_path: pathlib.Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    train(old, "--level_name=catch_x1", "--network=progressive", *TOY)
    out = train(new, "--level_name=catch_x100", f"--grow_from={old}", *TOY)
    assert f"network progressive grown from {old}" in out
    before, after = restore_policy(RunDirectory(old)), restore_policy(RunDirectory(new))
    assert after.steps > 0
    for module, values in before.params.items():
        for name, x in values.items():
            np.testing.assert_array_equal(after.params[module][name][..., : x.shape[-1]], x)
    np.testing.assert_array_equal(after.popart.mean[0], before.popart.mean[0])
    assert after.popart.mean[1] != 0
    # The first task's games are the same, move by move.
    scores = [
        evaluate(RunDirectory(path), episodes=30, greedy=False, seed=1, level_name="catch_x1")
        for path in (old, new)
    ]
    assert scores[0] == scores[1]
    # Only the second was played.
    assert {row["task"] for row in read_rows(new / "actors.csv")} == {"catch_x100"}
    report = run("sensitivity", f"--logdir={new}", "--steps=80")
    assert report.returncode == 0, report.stderr
    assert "linear_0" in report.stdout and "column 1" in report.stdout


@pytest.mark.slow
def test_a_preset_trains_on_games(tmp_path: pathlib.Path) -> None:
    out = train(
        tmp_path / "run",
        "--preset=amt",
        "--level_name=pong,seaquest",
        "--batch_size=2",
        "--unroll_length=5",
        "--total_environment_frames=400",
        "--num_actors=1",
        "--environments_per_actor=2",
        "--evaluation_interval=0",
        "--test_num_episodes=0",
        "--log_interval=0.01",
    )
    assert "preset amt: " in out
    assert "overridden: " in out and "batch_size=2 instead of 32" in out
    rows = read_rows(tmp_path / "run" / "learner.csv")
    assert rows
    weights = [[float(row[f"attention_{k}/pong"]) for k in range(2)] for row in rows]
    played = [pair for pair in weights if not np.isnan(pair).any()]
    assert played
    np.testing.assert_allclose(np.sum(played, axis=1), 1.0, rtol=1e-4)
