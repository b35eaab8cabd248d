"""A run's directory: its files, and who may write to it."""

import dataclasses
import fcntl
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading

import pytest

from launch_programs.run import run_directory
from launch_programs.run.run_directory import RunDirectory, default_path, make_new, write_json
from tests.launch_programs.full_disk import full_beyond
from tests.launch_programs.runs import CONFIG

# Claims the directory, says so, and holds it until its input ends.
HOLDER = """
import sys
from launch_programs.run.run_directory import RunDirectory
directory = RunDirectory(sys.argv[1])
directory.lock()
print("locked", flush=True)
sys.stdin.read()
"""


def test_config_round_trip(tmp_path: pathlib.Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.create()
    directory.write_config(CONFIG)
    assert RunDirectory(str(tmp_path / "run")).read_config() == CONFIG
    replaced = dataclasses.replace(CONFIG, num_actors=8)
    directory.write_config(replaced)
    assert directory.read_config() == replaced


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"config.json is not JSON: .*"),
        ("[]", r"config.json: not a configuration of this version: .*"),
        ('{"tasks": ["pong"]}', r"config.json: not a configuration of this version: .*"),
        ("null", r"config.json: not a configuration of this version: .*"),
    ],
)
def test_a_broken_config_is_told_with_its_path(
    tmp_path: pathlib.Path, text: str, message: str
) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError) as error:
        RunDirectory(tmp_path).read_config()
    assert re.fullmatch(f"{re.escape(str(tmp_path))}/{message}", str(error.value))


def test_a_directory_without_a_run(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="is not a run directory: it has no config.json"):
        RunDirectory(tmp_path / "nowhere").read_config()
    assert not (tmp_path / "nowhere").exists()


def test_creating_makes_parents_and_leaves_what_is_there(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a" / "b"
    RunDirectory(path).create()
    assert sorted(p.name for p in path.iterdir()) == ["logs"]
    (path / "learner.csv").write_text("kept")
    RunDirectory(path).create()
    assert (path / "learner.csv").read_text() == "kept"


@pytest.mark.parametrize("path", ["file", "file/below"])
def test_a_directory_that_cannot_be_made(tmp_path: pathlib.Path, path: str) -> None:
    """A path at or below a file: tests may run as root, which ignores permissions."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=f"^logdir='{tmp_path / path}': cannot be written to: "):
        RunDirectory(tmp_path / path).create()
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_directory_that_cannot_be_written_to() -> None:
    """/proc refuses new files, even from root."""
    with pytest.raises(ValueError, match="^logdir='/proc/run': cannot be written to: "):
        RunDirectory("/proc/run").create()


def test_one_process_at_a_time(tmp_path: pathlib.Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=pathlib.Path(run_directory.__file__).parents[2],
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        for _ in range(2):  # a refused claim must not weaken the other one
            with pytest.raises(ValueError, match=f"^logdir='{tmp_path}': another run is using it"):
                RunDirectory(tmp_path).lock()
        holder.send_signal(signal.SIGKILL)
    RunDirectory(tmp_path).lock()


def test_a_process_that_inherits_the_claim_keeps_it(tmp_path: pathlib.Path) -> None:
    directory = RunDirectory(tmp_path)
    descriptor = directory.lock()
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[descriptor]
    ) as heir:
        os.close(descriptor)
        with pytest.raises(ValueError, match="another run is using it"):
            RunDirectory(tmp_path).lock()
        heir.communicate(b"\n")
    RunDirectory(tmp_path).lock()


def test_asking_whether_a_run_has_the_directory(tmp_path: pathlib.Path) -> None:
    assert not RunDirectory(tmp_path).is_locked()
    assert list(tmp_path.iterdir()) == []
    directory = RunDirectory(tmp_path)
    os.close(directory.lock())
    assert not RunDirectory(tmp_path).is_locked()
    directory = RunDirectory(tmp_path)
    directory.lock()
    for _ in range(2):
        assert RunDirectory(tmp_path).is_locked()


def test_a_question_at_that_moment_does_not_refuse_a_claim(tmp_path: pathlib.Path) -> None:
    RunDirectory(tmp_path).lock()
    with (tmp_path / ".lock").open() as question:
        fcntl.flock(question, fcntl.LOCK_SH)
        answered = threading.Timer(0.1, fcntl.flock, (question, fcntl.LOCK_UN))
        answered.start()
        RunDirectory(tmp_path).lock()
        answered.join()


def test_the_next_start_removes_what_was_said_of_a_failure(tmp_path: pathlib.Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.note_failure("learner/0: killed by SIGKILL")
    assert directory.failed.read_text() == "learner/0: killed by SIGKILL\n"
    directory.lock()
    assert not directory.failed.exists()


def test_a_failure_that_cannot_be_noted_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    RunDirectory("/proc").note_failure("x")
    assert capsys.readouterr().err.startswith("/proc/failed cannot be written: ")


def test_the_command_that_resumes(tmp_path: pathlib.Path) -> None:
    directory = RunDirectory(tmp_path / "my run")
    directory.create()
    logdir = f"'--logdir={tmp_path}/my run'"
    assert directory.resume_command() == f"python -m launch_programs.train {logdir}"
    directory.write_launch("train", ["--launch_type=ray", "--ray_address=a b"])
    assert directory.resume_command() == (
        f"python -m launch_programs.train {logdir} --launch_type=ray '--ray_address=a b'"
    )


def test_a_reader_never_sees_half_a_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "values.json"
    versions = [{"version": i, "filling": ["x" * 1000] * 200} for i in range(2)]
    write_json(path, versions[0])
    done = threading.Event()

    def write() -> None:
        for i in range(300):
            write_json(path, versions[i % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        values = json.loads(path.read_text())
        assert values == versions[values["version"]]
        seen.add(values["version"])
    writer.join()
    assert seen == {0, 1}
    assert [p.name for p in tmp_path.iterdir()] == ["values.json"]


def test_values_that_json_cannot_hold_leave_the_old_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "values.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_default_path() -> None:
    assert re.fullmatch(r"runs/atari3-20\d{6}-\d{6}", str(default_path("atari3")))


def test_runs_of_one_second_have_directories_of_their_own(tmp_path: pathlib.Path) -> None:
    made: list[pathlib.Path] = []
    path = tmp_path / "runs" / "toy-20260101-000000"
    threads = [threading.Thread(target=lambda: made.append(make_new(path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(p.name for p in made) == sorted(
        [path.name, *(f"{path.name}-{n}" for n in range(2, 9))]
    )
    assert sorted(path.parent.iterdir()) == sorted(made)


def test_a_tilde_is_the_users_home(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunDirectory("~/runs/a").path == tmp_path / "runs/a"
    assert RunDirectory("runs/~/a").path == pathlib.Path("runs/~/a")
    assert RunDirectory("~nobody-of-this-name/a").path == pathlib.Path("~nobody-of-this-name/a")


def test_a_directory_without_room(tmp_path: pathlib.Path) -> None:
    directory = RunDirectory(tmp_path)
    with full_beyond(100), pytest.raises(ValueError) as error:
        directory.create()
    assert str(error.value) == f"logdir='{tmp_path}': cannot be written to: File too large"
    with full_beyond(3), pytest.raises(OSError):
        write_json(directory.launch, ["train"])
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]
