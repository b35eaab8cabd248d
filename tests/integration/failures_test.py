"""Parts of running programs die, and what docs/cluster.md promises about that holds."""

import os
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator

import jax
import numpy as np
import psutil
import pytest

from launch_programs.run.checkpointing import Checkpointer
from launch_programs.runs import read_run
from tests.integration.misbehaving import misbehave
from tests.integration.programs import (
    STOP_SECONDS,
    TrainingProgram,
    saved_frames,
    train,
    training,
)
from tests.launch_programs.runs import make_run

TOY = (
    *("--level_name=toy", "--num_actors=2", "--evaluation_interval=0"),
    *("--log_interval=0.5", "--checkpoint_interval=1"),
)

# A cluster of this machine alone, in which nodes do not wait for cores.
RAY = (
    "--launch_type=ray",
    "--ray_address=local",
    *(f"--ray_resources={group}:CPU=0" for group in ("learner", "queue", "actor", "evaluator")),
)


@pytest.fixture(autouse=True)
def slow_actors(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slows programs to some 4,000 frames/s: at full speed each would hog all cores."""
    misbehave(tmp_path_factory.mktemp("slow"), monkeypatch, "time.sleep(0.0005)")


def kill(program: TrainingProgram, name: str) -> psutil.Process:
    process = program.node(name)
    assert process is not None
    process.kill()
    return process


def kill_and_wait(program: TrainingProgram, name: str) -> None:
    """Kills a node; waits until it is replaced and learning continues."""
    old = kill(program, name)
    program.wait_until(lambda: program.node(name) not in (None, old))
    program.wait_for_rows(6)


def failures(program: TrainingProgram) -> list[tuple[str, str]]:
    return [(row["node"], row["failure"]) for row in program.rows("failures")]


def episodes_since(program: TrainingProgram, actor: int, frames: int) -> int:
    return sum(
        row["actor"] == str(actor) and int(row["frames"]) > frames for row in program.rows("actors")
    )


def listening(program: TrainingProgram) -> int:
    """Counts the program's ports that are visible from outside its private network."""
    own = {process.pid for process in program.processes()}
    return sum(
        connection.status == psutil.CONN_LISTEN and connection.pid in own
        for connection in psutil.net_connections("tcp")
    )


def assert_stopped(program: TrainingProgram, seconds: float) -> None:
    """Checks that the program has failed and left no process behind."""
    assert program.wait(seconds) == 1
    assert program.processes() == []
    assert "The program failed." in program.output


@pytest.mark.slow
def test_local_an_actor_comes_back_and_without_the_learner_all_ends(tmp_path: pathlib.Path) -> None:
    logdir = tmp_path / "run"
    with training(logdir, *TOY, "--evaluation_interval=100000") as program:
        program.wait_for_rows(4)
        if "does not allow private networks" not in program.output:
            assert listening(program) == 0
        kill_and_wait(program, "actor/1")
        assert failures(program) == [
            ("actor/1", "killed by SIGKILL; started again (1 of at most 5 in ten minutes)")
        ]
        assert "! actor/1: killed by SIGKILL; started again" in program.output
        assert [row["restart"] for row in program.rows("failures")] == ["1"]
        seen = int(program.rows()[-1]["frames"])
        program.wait_until(lambda: episodes_since(program, 1, seen) > 0)  # it plays again
        kill_and_wait(program, "evaluator/0")

        program.wait_for_rows(4)
        before = program.rows()
        kill(program, "learner/0")
        assert_stopped(program, STOP_SECONDS)
        assert "learner/0: killed by SIGKILL" in program.output
        assert f"To resume: python -m launch_programs.train --logdir={logdir}" in program.output
    failed = read_run(logdir)
    assert (failed.state, failed.problem) == ("failed", "learner/0: killed by SIGKILL")

    # At most the learning since the last checkpoint, a second earlier, is lost.
    saved = saved_frames(logdir)
    killed_at = float(before[-1]["time"])
    older = [int(row["frames"]) for row in before if float(row["time"]) < killed_at - 3.0]
    assert saved >= older[-1] > 0


@pytest.mark.slow
def test_local_without_one_of_two_queues_all_ends(tmp_path: pathlib.Path) -> None:
    flags = (*TOY, "--num_queues=2", "--private_network=false")
    with training(tmp_path / "run", *flags) as program:
        program.wait_for_rows(4)
        assert all(0.0 <= float(row["queue_fill"]) <= 1.0 for row in program.rows())
        assert listening(program) == 4  # coordinator, learner, queues
        # Each actor has its own queue, and would be stuck if the learner read only the other one.
        seen = int(program.rows()[-1]["frames"])
        program.wait_until(lambda: all(episodes_since(program, n, seen) > 0 for n in (0, 1)))
        kill(program, "queue/0")
        assert_stopped(program, STOP_SECONDS)
        assert "queue/0: killed by SIGKILL" in program.output
        assert saved_frames(program.logdir) >= seen  # the learner was alive to save


@pytest.mark.slow
def test_a_launcher_stopped_from_outside_is_an_interruption(tmp_path: pathlib.Path) -> None:
    """Uses threads; supervisor_test.py covers the supervisor of processes."""
    with training(tmp_path / "run", *TOY, "--launch_type=local_mt") as program:
        program.wait_for_rows(2)
        [launcher] = [
            process
            for process in program.processes()
            if process.cmdline()[1:3] == ["-m", "launch_programs.launching.launcher"]
        ]
        launcher.terminate()
        assert program.wait(2 * STOP_SECONDS) == 130
        assert "by SIGTERM of its launcher" in program.output
        assert "Evaluating" not in program.output
        assert saved_frames(program.logdir) > 0


@pytest.mark.by_hand  # ray_hosts_test.py does the same on hosts, which need root
def test_ray_everything_comes_back(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH")  # nodes are not forks here; the actor runs at full speed
    flags = (*TOY, *RAY, "--num_actors=1", "--num_queues=1")
    with training(tmp_path / "run", *flags) as program:
        program.wait_for_rows(4)
        kill_and_wait(program, "actor/0")
        before = program.rows()
        kill_and_wait(program, "learner/0")
        assert failures(program) == [
            ("actor/0", "killed by SIGKILL; started again (1 of at most 5 in ten minutes)"),
            (
                "learner/0",
                "killed by SIGKILL; all nodes start again from the last checkpoint "
                "(1 of at most 5 in ten minutes)",
            ),
        ]
        # It continued from the last checkpoint, at most a few seconds back.
        killed_at = float(before[-1]["time"])
        older = [int(row["frames"]) for row in before if float(row["time"]) < killed_at - 3.0]
        assert int(program.rows()[len(before)]["frames"]) >= older[-1]

        program.process.send_signal(signal.SIGTERM)
        assert program.wait(STOP_SECONDS) == 130
        deadline = time.monotonic() + STOP_SECONDS
        while program.processes() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert program.processes() == []
        assert saved_frames(program.logdir) >= int(program.rows()[-1]["frames"])


@pytest.fixture
def small_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A disk of 12 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)]
    if subprocess.run(mount, stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.slow
def test_training_goes_on_while_the_whole_disk_is_full(small_disk: pathlib.Path) -> None:
    with training(small_disk / "run", *TOY) as program:
        program.wait_for_rows(4)
        program.wait_until((small_disk / "run/last-checkpoint").exists)
        fill(small_disk / "filler")
        program.wait_until(lambda: "cannot be written: No space left on device" in program.output)
        kill(program, "actor/1")  # its successor's output has no room either
        program.wait_until(lambda: program.node("actor/1") is not None)
        time.sleep(5.0)  # tables stand still, training does not
        assert saved_frames(program.logdir) > 0
        (small_disk / "filler").unlink()
        program.wait_until(lambda: "can be written again" in program.output)
        program.wait_until(lambda: any("takes data again" in f for _, f in failures(program)))
        for warning in ("/run cannot be written: ", "/run can be written again"):
            assert program.output.count(warning) == 1
        causes = [failure for _, failure in failures(program)]
        assert sum(cause.startswith("cannot write ") for cause in causes) == 1
        assert sum(cause.startswith("cannot save ") for cause in causes) <= 1
        program.wait_for_rows(3)
        history = [int(row["frames"]) for row in program.rows()]
        assert history == sorted(history)
        times = [float(row["time"]) for row in program.rows()][: len(history)]
        # More was learned during the pause than between two rows at other times.
        learned = np.diff(history)
        assert learned[np.argmax(np.diff(times))] > np.median(learned)
        program.process.send_signal(signal.SIGINT)
        assert program.wait(STOP_SECONDS) == 130
        assert saved_frames(program.logdir) >= history[-1]


@pytest.mark.slow
def test_a_run_that_ends_on_a_full_disk_says_why(small_disk: pathlib.Path) -> None:
    with training(small_disk / "run", *TOY, "--total_environment_frames=30000") as program:
        program.wait_until((small_disk / "run/last-checkpoint").exists)
        fill(small_disk / "filler")
        assert program.wait() == 1
        assert "The program failed.\nlearner/0: ended with exit code 1, " in program.output
        assert f"cannot save {small_disk}/run/checkpoints/" in program.output
        assert "No space left" in program.output
        resume = f"To resume: python -m launch_programs.train --logdir={small_disk}/run"
        assert resume in program.output
        assert saved_frames(program.logdir) > 0


def fill(path: pathlib.Path) -> None:
    """Writes until the disk is full."""
    with path.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))


@pytest.mark.slow
def test_a_newest_checkpoint_that_is_truncated_and_then_all_gone(tmp_path: pathlib.Path) -> None:
    logdir = tmp_path / "run"
    make_run(logdir, "toy", *TOY, steps=20)
    before, newest = 20, 30
    shutil.copytree(logdir / f"checkpoints/{before}", logdir / f"checkpoints/{newest}")
    for path in (logdir / f"checkpoints/{newest}").rglob("*"):
        if path.is_file():
            os.truncate(path, path.stat().st_size // 2)
    output = train(logdir, "--total_environment_frames=22000", "--test_num_episodes=1")
    assert (
        f"! learner/0: {logdir}/checkpoints/{newest} is damaged, now named broken-{newest}; using "
        f"{before} instead: "
    ) in output
    assert saved_frames(logdir) >= 22000

    # As on a host without the directory: the run does not start over.
    shutil.rmtree(logdir / "checkpoints")
    with training(logdir, "--total_environment_frames=30000") as program:
        assert program.wait() == 1
        assert f"is not in {logdir}/checkpoints: this directory must be the same" in program.output


@pytest.mark.slow
@pytest.mark.parametrize("launch_type", ["local_mp", "local_mt"])
def test_updates_that_are_never_finite_end_the_program(
    tmp_path: pathlib.Path, launch_type: str
) -> None:
    logdir = tmp_path / "run"
    flags = ("--learning_rate=1e30", f"--launch_type={launch_type}")
    with training(logdir, *TOY, *flags) as program:
        assert program.wait(120) == 1
        assert program.processes() == []
        assert "The program failed." in program.output
        output = " ".join(program.output.split())
        assert "the last 10 updates were skipped, at least in part, since the loss" in output
        assert "Not finite: batch.behaviour_logits" in output or "numbers overflowed" in output
    [path] = logdir.glob("bad-batch-*.npz")
    assert str(path) in output
    batch = np.load(path)
    assert batch["inputs.features"].shape[0] == batch["action"].shape[0] == 32
    assert batch["behaviour_logits"].shape == (32, 20, 3)
    policy = Checkpointer(logdir / "checkpoints", read_only=True).restore_policy()
    assert policy is not None
    for array in jax.tree.leaves((policy.params, policy.popart)):
        assert np.isfinite(array).all()


@pytest.mark.slow
def test_an_environment_that_hangs_once_is_replaced_and_one_that_always_fails_ends_the_program(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misbehave(
        tmp_path,
        monkeypatch,
        """
        if node == "actor/0":
            if steps == 2000:
                time.sleep(1000)
            if steps > 2000 and os.path.exists(DIED):
                raise RuntimeError("the emulator is gone")
        """,
    )
    flags = ("--environment_deadline=2", "--max_environment_failures=3")
    with training(tmp_path / "run", *TOY, *flags) as program:
        program.wait_until(lambda: len(failures(program)) > 0)
        seen = int(program.rows()[-1]["frames"]) if program.rows() else 0
        [(node, text)] = failures(program)
        assert node == "actor/0"
        assert "(task " in text and ", catch_x" in text
        assert "no answer within 2 s" in text
        assert text.endswith("are recreated (1 of less than 3 in a row)")
        program.wait_until(lambda: episodes_since(program, 0, seen) > 0)
        assert len(failures(program)) == 1

        (tmp_path / "sitecustomize.py.died").touch()
        assert program.wait(120) == 1
        assert program.processes() == []
        assert "RuntimeError: the emulator is gone" in program.output
        assert "(failure 3 in a row)" in program.output
        assert len(failures(program)) in (3, 4)  # 4 if enough good steps followed the hang
    assert saved_frames(program.logdir) > 0


# How old an unroll may be when it is used, in learner steps. In flight are at most: what the actors
# play at a time (48 unrolls, one and a half batches), the queue's quarter of a batch, the batch
# that is ready, and the one in the current update; each part may straddle two batches.
MAX_LAG = 5


@pytest.mark.slow
def test_a_slow_learner_bounds_the_lag_and_the_memory(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH")  # the actors run at full speed
    flags = (*TOY, "--checkpoint_interval=1000", "--hidden_size=1024")
    with training(tmp_path / "run", *flags) as program:
        program.wait_for_rows(6)
        processes = [program.node(name) for name in ("learner/0", "actor/0", "coordinator/0")]
        nodes = [process for process in processes if process is not None]
        assert len(nodes) == 3
        before = [node.memory_info().rss for node in nodes]
        program.wait_for_rows(16)
        after = [node.memory_info().rss for node in nodes]
        assert [b - a for a, b in zip(before, after, strict=True) if b - a > 32 * 2**20] == []
        rows = program.rows()[3:]
    assert max(int(row["policy_lag_max"]) for row in rows) <= MAX_LAG
