"""The output of processes: bounded on disk, with its end in memory."""

import itertools
import pathlib
import subprocess
import sys

import pytest

from launch_programs.launching import output_log
from launch_programs.launching.output_log import OutputLog, earlier
from launch_programs.run.run_directory import RunDirectory
from launch_programs.screen.disk_watch import DiskWatch
from tests.launch_programs.full_disk import full_beyond


def printed(path: pathlib.Path, code: str) -> OutputLog:
    log = OutputLog(path)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    log.copy(process.stdout)
    process.wait()
    log.end()
    return log


def test_output_is_appended_and_its_end_known(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "actor" / "3"
    printed(path, "print('first')")
    log = printed(path, "import os; print('second', flush=True); os.write(2, b'\\xff third')")
    assert path.read_bytes() == b"first\nsecond\n\xff third"
    assert log.end() == "second\n\ufffd third"


def test_an_environment_that_prints_at_every_step_has_a_bound(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_log, "BOUND", 200_000)
    path = tmp_path / "0"
    log = printed(path, "for i in range(200_000): print('step', i)")
    assert 0 < path.stat().st_size <= 200_000
    assert 0 < earlier(path).stat().st_size <= 200_000
    assert sorted(tmp_path.iterdir()) == [path, earlier(path)]
    assert path.read_text().endswith("step 199998\nstep 199999\n")
    assert log.end().endswith("step 199998\nstep 199999\n")


def test_a_full_disk_neither_stops_a_process_nor_hides_its_last_words(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "0"
    with full_beyond(1000):
        log = printed(path, "print('x' * 2000); print('ValueError: the cause')")
        assert path.stat().st_size <= 1000
    assert log.end().endswith("\nValueError: the cause\n")
    log.write(b"afterwards\n")
    assert b"bytes could not be written]\nafterwards\n" in path.read_bytes()


def test_a_disk_that_is_full_is_told_once(tmp_path: pathlib.Path) -> None:
    told: list[str] = []
    seconds = itertools.count(step=10.0)
    watch = DiskWatch(RunDirectory(tmp_path), told.append, clock=lambda: next(seconds))
    for _ in range(2):
        watch.update()
    assert told == []
    with full_beyond(100):
        for _ in range(3):
            watch.update()
    [warning] = told
    assert warning.startswith(f"! {tmp_path} cannot be written: File too large; training continues")
    for _ in range(2):
        watch.update()
    assert told[1:] == [f"! {tmp_path} can be written again"]
    assert list(tmp_path.iterdir()) == []
