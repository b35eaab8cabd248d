"""Training as a user starts it: real processes, a real queue, real games."""

import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import pytest

from agents.popart_impala.config import Config
from agents.popart_impala.training_state import learning_rate
from launch_programs.run.metrics import read_rows
from launch_programs.run.run_config import default_num_actors
from launch_programs.runs import read_run
from tests.integration.programs import (
    FRAMES_PER_UPDATE,
    ROOT,
    STOP_SECONDS,
    TrainingProgram,
    run,
    saved_frames,
    train,
    training,
)
from tests.launch_programs.events import written


def consumed(program: TrainingProgram) -> int:
    metrics = read_rows(program.logdir / "learner.csv")
    return int(metrics[-1]["frames"]) if metrics else 0


def assert_statistics_go_on(before: dict[str, str], after: dict[str, str]) -> None:
    """Checks that PopArt's statistics continue: they are far from a new run's 1."""
    assert float(before["sigma/catch_x10000"]) > 100
    assert float(after["sigma/catch_x10000"]) > 0.5 * float(before["sigma/catch_x10000"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, str]:
    """A finished toy run of 50 updates, and its output."""
    logdir = tmp_path_factory.mktemp("runs") / "finished"
    output = train(
        logdir,
        "--level_name=toy",
        "--total_environment_frames=32000",
        "--evaluation_interval=5000",
        "--log_interval=0.3",
        "--test_num_episodes=4",
    )
    return logdir, output


def test_a_run_ends_at_its_frames_and_is_evaluated(finished: tuple[pathlib.Path, str]) -> None:
    logdir, output = finished
    assert saved_frames(logdir) == 32000
    assert "100.0%  32,000 frames" in output
    assert "Evaluating " in output
    assert f"Plots in {logdir}/plots" in output
    for task in ("catch_x1", "catch_x100", "catch_x10000"):
        assert f" {task} " in output
    scores = json.loads((logdir / "evaluation-50.json").read_text())
    assert scores["frames"] == 32000
    assert [score["episodes"] for score in scores["tasks"]] == [4, 4, 4]
    assert "Traceback" not in output
    assert len(output.splitlines()) < 60  # it fits on a screen
    assert {path.suffix for path in (logdir / "plots").iterdir()} == {".png", ".svg"}
    listed = read_run(logdir)
    assert (listed.state, listed.resume) == ("finished", "")
    assert listed.score is not None
    assert listed.score.source.startswith("evaluation at ")


def test_metrics_of_a_run(finished: tuple[pathlib.Path, str]) -> None:
    logdir, _ = finished
    metrics = read_rows(logdir / "learner.csv")
    assert metrics
    config = Config(action_repeat=1, total_environment_frames=32000)
    for row in metrics:
        assert int(row["frames"]) == int(row["learner_steps"]) * FRAMES_PER_UPDATE
        before = int(row["frames"]) - FRAMES_PER_UPDATE
        assert float(row["learning_rate"]) == pytest.approx(learning_rate(config, before))
        for name in ("mu", "sigma"):
            assert all(f"{name}/catch_x{scale}" in row for scale in (1, 100, 10_000))
        assert float(row["frames_per_second"]) > 0
        assert 0 <= float(row["policy_lag_mean"]) <= float(row["policy_lag_max"])

    episodes = read_rows(logdir / "actors.csv")
    for scale in (1, 100, 10_000):
        returns = {float(e["episode_return"]) for e in episodes if e["task"] == f"catch_x{scale}"}
        assert returns == {-scale, scale}
    # Every episode has 9 steps, and each task has a third of the episodes.
    assert {e["episode_length"] for e in episodes} == {"9"}
    assert {e["actor"] for e in episodes} == {str(i) for i in range(default_num_actors())}
    thirds = [sum(e["task"] == f"catch_x{s}" for e in episodes) for s in (1, 100, 10_000)]
    assert max(thirds) - min(thirds) <= len(episodes) / 20

    tasks = [e["task"] for e in read_rows(logdir / "evaluator.csv")]
    assert set(tasks[:3]) == {"catch_x1", "catch_x100", "catch_x10000"}


def test_tensorboard_shows_the_same(finished: tuple[pathlib.Path, str]) -> None:
    logdir, _ = finished
    shown = written(logdir)
    metrics = read_rows(logdir / "learner.csv")
    for tag, column in (
        ("charts/FPS", "frames_per_second"),
        ("charts/SPS", "frames_per_second"),  # a step of the toys is a frame
        ("losses/policy_loss", "policy_gradient_loss"),
        ("losses/value_loss", "baseline_loss"),
        ("losses/entropy", "entropy"),
        ("popart/mu/catch_x100", "mu/catch_x100"),
        ("popart/sigma/catch_x10000", "sigma/catch_x10000"),
    ):
        assert [step for step, _ in shown[tag]] == [int(row["frames"]) for row in metrics]
        assert [value for _, value in shown[tag]] == pytest.approx(
            [float(row[column]) for row in metrics]
        )
    for task, scale in (("catch_x1", 1), ("catch_x100", 100), ("catch_x10000", 10_000)):
        returns = [value for _, value in shown[f"charts/episodic_return/{task}"]]
        assert returns
        assert all(-scale <= mean <= scale for mean in returns)
        assert shown[f"evaluation/episodic_return/{task}"]


def test_actors_steps_are_those_consumed_and_those_on_their_way(
    finished: tuple[pathlib.Path, str],
) -> None:
    """The queue drops nothing: what actors wrote and the learner has not used is bounded."""
    logdir, _ = finished
    config = json.loads((logdir / "config.json").read_text())
    counts = json.loads((logdir / "checkpoints/50/info/metadata").read_text())["counts"]
    in_flight = counts["actor_steps"] - counts["learner_frames"]
    # Actors count one unroll per environment at once: before the queue takes it if they have to
    # wait, and after the learner has used it if they do not.
    writing = config["num_actors"] * config["environments_per_actor"] * 20
    # The queue, the batch that is ready, and the part of the next one that Reverb holds.
    reading = 2 * FRAMES_PER_UPDATE
    assert -writing <= in_flight <= reading + writing


def stop(program: TrainingProgram, signum: signal.Signals) -> None:
    """Stops the program as a user or a scheduler does, and checks how it ends."""
    program.process.send_signal(signum)
    assert program.wait(STOP_SECONDS) == 130
    assert program.processes() == []
    assert f"{signum.name}: saving a checkpoint" in program.output
    resume = f"To resume: python -m launch_programs.train --logdir={program.logdir}"
    assert resume in program.output


@pytest.mark.slow
def test_a_signal_saves_and_ends_everything_and_the_run_goes_on(tmp_path: pathlib.Path) -> None:
    logdir = tmp_path / "run"
    with training(logdir, "--level_name=toy", "--log_interval=0.2") as program:
        program.wait_until(lambda: consumed(program) > 10_000)
        assert len(program.processes()) > 4  # there is something to end below

        refused = run("train", f"--logdir={logdir}")
        assert refused.returncode == 2
        assert refused.stderr.startswith(f"error: logdir='{logdir}': another run is using it;")
        assert len(refused.stderr.splitlines()) == 1

        assert read_run(logdir).state == "running"
        seen = consumed(program)
        stop(program, signal.SIGINT)
        stopped = read_run(logdir)
        assert stopped.state == "interrupted"
        assert f"To resume: {stopped.resume}\n" in program.output
    saved = saved_frames(logdir)
    assert saved >= seen
    metrics = read_rows(logdir / "learner.csv")
    episodes = read_rows(logdir / "actors.csv")

    command = shlex.split(stopped.resume)
    assert command[:4] == ["python", "-m", "launch_programs.train", f"--logdir={logdir}"]
    with training(logdir, *command[4:], "--log_interval=0.2") as program:
        program.wait_until(lambda: len(read_rows(logdir / "learner.csv")) > len(metrics) + 2)
        stop(program, signal.SIGTERM)
        assert program.output.startswith("Resuming: catch_x1, catch_x100, catch_x10000 for ")
    rows = read_rows(logdir / "learner.csv")
    assert rows[: len(metrics)] == metrics
    assert read_rows(logdir / "actors.csv")[: len(episodes)] == episodes
    resumed = rows[len(metrics) :]
    assert int(resumed[0]["frames"]) > saved  # counting continues from the checkpoint
    assert saved_frames(logdir) >= int(resumed[-1]["frames"])
    for row in resumed:
        assert float(row["learning_rate"]) == pytest.approx(
            learning_rate(Config(action_repeat=1), int(row["frames"]) - FRAMES_PER_UPDATE)
        )
    assert_statistics_go_on(metrics[-1], resumed[0])
    shown = [step for step, _ in written(logdir)["losses/entropy"]]
    assert shown == sorted(shown)
    assert shown[-1] == int(resumed[-1]["frames"])


@pytest.mark.slow
def test_a_killed_program_leaves_a_checkpoint_and_no_process(tmp_path: pathlib.Path) -> None:
    """SIGKILL of `train` itself, which it cannot handle: its launcher notices."""
    with training(tmp_path / "run", "--level_name=toy", "--log_interval=0.2") as program:
        program.wait_until(lambda: consumed(program) > 0)
        seen = consumed(program)
        program.process.kill()
        deadline = time.monotonic() + STOP_SECONDS
        while program.processes() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert program.processes() == []
        assert saved_frames(program.logdir) >= seen
    assert read_run(program.logdir).state == "interrupted"


@pytest.mark.slow
def test_training_and_evaluation_without_an_output(tmp_path: pathlib.Path) -> None:
    """Nodes inherit closed streams. standard_streams_test.py has a reader that ends."""
    flags = (f"--logdir={tmp_path}/run", "--level_name=catch_x1")
    small = ("--num_actors=1", "--total_environment_frames=6400", "--test_num_episodes=1")
    command = shlex.join([sys.executable, "-m", "launch_programs.train", *flags, *small])
    done = subprocess.run(
        ["bash", "-c", f"{command} >&- 2>&- <&-"],
        cwd=ROOT,
        env={**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0
    assert list((tmp_path / "run").glob("evaluation-*.json")) != []
    assert (tmp_path / "run/plots/returns.png").exists()
