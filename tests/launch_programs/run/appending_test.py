"""Files that grow on a disk that is full for a while."""

import pathlib

import pytest

from launch_programs.nodes.tensorboard import EventWriter
from launch_programs.run.appending import PatientWriter, append
from launch_programs.run.metrics import CSVTable, read_rows
from launch_programs.run.scalars import Scalars
from tests.launch_programs.events import written
from tests.launch_programs.full_disk import full_beyond


def test_all_or_nothing(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    append(path, b"first\n", b"header\n")
    with full_beyond(20):
        with pytest.raises(OSError):
            append(path, bytes(1000), b"header\n")
        assert path.read_bytes() == b"header\nfirst\n"
        append(path, b"second\n", b"header\n")
    assert path.read_bytes() == b"header\nfirst\nsecond\n"


def test_a_file_that_could_not_be_begun_gets_its_header_later(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    with full_beyond(3), pytest.raises(OSError):
        append(path, b"first\n", b"header\n")
    append(path, b"second\n", b"header\n")
    assert path.read_bytes() == b"header\nsecond\n"


def test_a_table_leaves_out_what_the_disk_does_not_take(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "table.csv"
    table = CSVTable(path)
    with full_beyond(4), pytest.raises(OSError):
        table.append([{"x": 1, "y": 2}])
    table.append([{"x": 3, "y": 4}])
    with full_beyond(path.stat().st_size + 6), pytest.raises(OSError):
        table.append([{"x": 5, "y": 6}, {"x": 7, "y": 8}])
    table.append([{"y": 10, "x": 9}])
    assert read_rows(path) == [{"x": "3", "y": "4"}, {"x": "9", "y": "10"}]


def test_events_are_whole_on_both_sides_of_the_gap(tmp_path: pathlib.Path) -> None:
    writer = EventWriter(tmp_path, 0)
    with full_beyond(10), pytest.raises(OSError):
        writer.write(Scalars(1, {"x": 1.0}))
    writer.write(Scalars(2, {"x": 2.0}))
    (path,) = tmp_path.iterdir()
    with full_beyond(path.stat().st_size + 10), pytest.raises(OSError):
        writer.write(Scalars(3, {"x": 3.0}))
    writer.write(Scalars(4, {"x": 4.0}))
    assert written(tmp_path) == {"x": [(2, 2.0), (4, 4.0)]}


def test_one_warning_and_what_is_missing(tmp_path: pathlib.Path) -> None:
    now, told = 0.0, list[str]()
    write = PatientWriter(told.append, clock=lambda: now)
    path = tmp_path / "file"

    def add() -> None:
        append(path, b"0123456789\n")

    assert write("a", add)
    assert told == []
    with full_beyond(15):
        assert not write("a", add)
        assert not write("b", add)
        assert not write("a", add)
    assert write("b", add)  # may be small enough to fit
    [warning] = told
    assert warning.startswith("cannot write a: [Errno 27] File too large; ")
    assert warning.endswith("training continues")
    now = 20.0
    assert write("a", add)
    assert told[1:] == ["the disk takes data again; writes that are missing: 2 of a, 1 of b"]
    assert write("a", add)
    assert len(told) == 2
    assert path.stat().st_size == 4 * 11
