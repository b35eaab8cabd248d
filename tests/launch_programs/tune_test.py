"""Populations: bad input, and one that is trained, stopped and continued by the real programs."""

import contextlib
import pathlib
import signal
import subprocess
import sys
import time

import psutil
import pytest

from launch_programs import tune
from launch_programs.run.population import PopulationDirectory
from launch_programs.run.run_directory import RunDirectory
from launch_programs.runs import find_runs
from tests.integration.programs import ROOT, STOP_SECONDS
from tests.launch_programs.command_lines import refused
from tests.launch_programs.populations import make_population, population


@pytest.fixture(autouse=True)
def nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*arguments: object) -> None:
        raise AssertionError(f"started: {arguments}")

    monkeypatch.setattr(tune, "_connect", start)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--population=1", "population=1: must be at least 2 members"),
        ("--perturbation_interval=0", "perturbation_interval=0: must be from 1 to --total_env"),
        ("--tuned=batch_size:1:2", "tuned='batch_size:1:2': 'batch_size' cannot be tuned"),
        ("--tuned=discounting:0.9:2", "discounting=2.0: must be in [0, 1]"),
        ("--member_resources=4", "member_resources='4': must be NAME=AMOUNT"),
        ("--member_resources=CPU=-1", "member_resources='CPU=-1': must be NAME=AMOUNT"),
        ("--ray_address=nowhere", "ray_address='nowhere': "),
        ("--level_name=tay", "unknown task 'tay'"),
        ("--batch_size=0", "batch_size=0: must be a whole number of at least 1"),
        ("--level_name=gym:Acrobot-v1,gym:MountainCar-v0", "has no scores to normalise by"),
        ("--level_name=minatar", "give --reference=minatar:breakout:LOW:HIGH, the returns that"),
        ("--reference=pong:0:20", "reference='pong': must be of a task that is learned: catch_x1,"),
        ("--reference=catch_x1:1", "reference='catch_x1:1': must be TASK:LOW:HIGH"),
        ("--learning_rate=0", "learning_rate=0.0: must be finite and more than 0"),
        ("extra", "unexpected argument 'extra'"),
    ],
)
def test_bad_input(
    flags: str, message: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logdir = tmp_path / "population"
    line = refused(tune, capsys, "--level_name=toy", f"--logdir={logdir}", *flags.split())
    assert message in line
    assert not logdir.exists()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--population=4", "population is 3 in the population, not 4"),
        ("--perturbation_interval=500", "perturbation_interval is 400 in the population, not 500"),
        ("--scheduler=random", "scheduler is pbt in the population, not random"),
        ("--tuned=entropy_cost:1:2", "tuned is {'learning_rate': "),
        ("--reference=catch_x1:0:2", "reference is {} in the population, not {'catch_x1': "),
        (
            "--total_environment_frames=5000",
            "total_environment_frames is 1000 in the run, not 5000",
        ),
        ("--seed=2", "seed is 1 in the run, not 2"),
    ],
)
def test_a_population_is_continued_as_it_is(
    flag: str, message: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = make_population(tmp_path / "population", population())
    line = refused(tune, capsys, f"--logdir={directory.path}", flag)
    assert message in line
    assert "give another --logdir" in line


def test_another_directory_is_left_alone(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter").write_text("Dear")
    line = refused(tune, capsys, f"--logdir={tmp_path}", "--level_name=toy")
    assert "is neither empty nor a population" in line
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


def start(logdir: pathlib.Path, *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "launch_programs.tune", f"--logdir={logdir}", *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_launcher(directory: RunDirectory) -> None:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            command = process.cmdline()
            if "launch_programs.launching.launcher" in command:
                if f"--logdir={directory.path}" in command:
                    process.kill()
                    return
    raise AssertionError(f"no launcher of {directory.path}")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_population_is_trained(tmp_path: pathlib.Path) -> None:
    """Has two members; the worse one continues from the better one's checkpoint.

    The second member's learning rate is far too small, so it is the worse one after an interval.
    """
    directory = PopulationDirectory(tmp_path / "population")
    program = start(
        directory.path,
        "--level_name=toy",
        "--total_environment_frames=80000",
        "--perturbation_interval=40000",
        "--population=2",
        "--learning_rate=0.005",
        "--tuned=learning_rate:1e-7:2e-7",
        "--checkpoint_interval=1",
        "--log_interval=0.5",
        "--evaluation_interval=0",
    )
    try:
        first = directory.member(0)
        while not first.tables["learner"].exists():
            assert program.poll() is None, program.communicate()[0]
            time.sleep(0.2)
        kill_launcher(first)
        while len(directory.read_rows()) < 2:
            assert program.poll() is None, program.communicate()[0]
            time.sleep(0.2)
        while not any(
            directory.member(number).saved_frames(directory.read_config().run) > 42_000
            for number in range(2)
        ):
            assert program.poll() is None, program.communicate()[0]
            time.sleep(0.2)
        program.send_signal(signal.SIGTERM)
        output, _ = program.communicate(timeout=2 * STOP_SECONDS)
    finally:
        program.kill()
    assert program.returncode == 130, output
    assert output.splitlines()[-1].startswith("Interrupted. To continue: python -m launch_programs")
    assert "Traceback" not in output
    assert "member 0 has failed and is started again; its output is in " in output
    assert not any(directory.member(number).is_locked() for number in range(2))
    saved = [directory.member(n).saved_frames(directory.read_config().run) for n in range(2)]
    assert max(saved) > 42_000

    program = start(directory.path)
    output, _ = program.communicate(timeout=400)
    assert program.returncode == 0, output
    assert output.startswith("Continuing learning_rate of toy: 2 members, pbt, 2 intervals")
    rows = {(row.interval, row.member): row for row in directory.read_rows()}
    assert sorted(rows) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert rows[0, 0].tuned == {"learning_rate": 0.005}
    assert rows[0, 0].score > rows[0, 1].score
    assert [rows[0, n].parent for n in range(2)] == [-1, -1]
    assert [rows[1, n].parent for n in range(2)] == [0, 0]
    # Perturbed, but kept within the range.
    assert 1e-7 <= rows[1, 1].tuned["learning_rate"] <= 2e-7
    assert rows[1, 0].tuned == {"learning_rate": 0.005}
    assert all(row.frames >= 80_000 for (interval, _), row in rows.items() if interval == 1)
    assert rows[1, 1].score > rows[0, 1].score + 20

    assert [run.state for run in find_runs(directory.path / "members")] == ["finished"] * 2
    assert (directory.plots / "population.png").exists()
    assert directory.best.exists()
    before = directory.table.read_text()
    again = start(directory.path)
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 0, output
    assert directory.table.read_text() == before
