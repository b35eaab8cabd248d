"""Failures as rows and as lines of progress."""

import multiprocessing
import pathlib
import time
from concurrent import futures

import pytest

from launch_programs.run.failure_log import FailureLog
from launch_programs.run.metrics import read_rows
from launch_programs.run.run_directory import RunDirectory
from tests.launch_programs.full_disk import full_beyond


def test_a_row_and_a_line(tmp_path: pathlib.Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.progress.write_text("frames 0\n")
    FailureLog(directory).add_restart("actor/3", 'killed, "hard"; started again')
    FailureLog(directory).add("learner/0", "no space left")
    rows = read_rows(directory.failures)
    assert [(row["node"], row["failure"], row["restart"]) for row in rows] == [
        ("actor/3", 'killed, "hard"; started again', "1"),
        ("learner/0", "no space left", "0"),
    ]
    assert abs(float(rows[0]["time"]) - time.time()) < 60
    assert directory.progress.read_text() == (
        'frames 0\n! actor/3: killed, "hard"; started again\n! learner/0: no space left\n'
    )


def test_a_failure_of_several_lines_is_one(tmp_path: pathlib.Path) -> None:
    directory = RunDirectory(tmp_path)
    FailureLog(directory).add("actor/3", "a shape:\n  [2,\u2028 3]\r\n")
    assert [row["failure"] for row in read_rows(directory.failures)] == ["a shape: [2, 3]"]
    assert directory.progress.read_text() == "! actor/3: a shape: [2, 3]\n"


def _write(path: str, writer: int) -> None:
    log = FailureLog(RunDirectory(path))
    for i in range(50):
        log.add(f"actor/{writer}", str(i))


def test_launcher_and_coordinator_may_write_at_once(tmp_path: pathlib.Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    with futures.ProcessPoolExecutor(2, mp_context=spawn) as pool:
        list(pool.map(_write, [str(tmp_path)] * 2, range(2)))
    rows = read_rows(RunDirectory(tmp_path).failures)
    for writer in range(2):
        own = [row["failure"] for row in rows if row["node"] == f"actor/{writer}"]
        assert own == [str(i) for i in range(50)]


def test_what_a_full_disk_does_not_take_is_printed_and_written_later(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = RunDirectory(tmp_path)
    log = FailureLog(directory)
    with full_beyond(10):
        log.add("learner/0", "cannot save")
        log.add_restart("actor/0", "killed; started again")
    assert "learner/0: cannot save\n" in capsys.readouterr().err
    assert log.flush()
    assert [row["node"] for row in read_rows(directory.failures)] == ["learner/0", "actor/0"]
    assert directory.progress.read_text() == (
        "! learner/0: cannot save\n! actor/0: killed; started again\n"
    )
    assert log.flush()
    assert len(read_rows(directory.failures)) == 2
