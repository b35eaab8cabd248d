"""Rows of metrics: plain values on the wire, CSV files on disk."""

import csv
import json
import pathlib
from typing import Any

import courier
import jax.numpy as jnp
import numpy as np
import pytest

from launch_programs.run.metrics import (
    CSVTable,
    Row,
    RowLogger,
    TableFollower,
    flatten_row,
    read_rows,
)
from tests.launch_programs.full_disk import full_beyond

TASKS = ("pong", "seaquest")

# What a learner writes: values of all kinds from Python, NumPy and JAX.
DATA: dict[str, Any] = {
    "name": "x",
    "flag": True,
    "steps": 3,
    "rate": 0.5,
    "numpy_int": np.int32(7),
    "numpy_long": np.int64(2**40),
    "numpy_float": np.float32(0.25),
    "numpy_bool": np.bool_(False),
    "numpy_scalar": np.array(1.5, np.float32),
    "jax_scalar": jnp.float32(2.5),
    "jax_int": jnp.int32(-2),
    "numpy_tasks": np.array([1.0, 2.0], np.float32),
    "jax_tasks": jnp.array([3, 4]),
    "list_tasks": [5.0, 6.0],
}
ROW: Row = {
    "name": "x",
    "flag": True,
    "steps": 3,
    "rate": 0.5,
    "numpy_int": 7,
    "numpy_long": 2**40,
    "numpy_float": 0.25,
    "numpy_bool": False,
    "numpy_scalar": 1.5,
    "jax_scalar": 2.5,
    "jax_int": -2,
    "numpy_tasks/pong": 1.0,
    "numpy_tasks/seaquest": 2.0,
    "jax_tasks/pong": 3.0,
    "jax_tasks/seaquest": 4.0,
    "list_tasks/pong": 5.0,
    "list_tasks/seaquest": 6.0,
}


def test_rows_have_only_plain_python_values() -> None:
    row = flatten_row(DATA, TASKS)
    assert row == ROW
    assert list(row) == list(ROW)  # the columns' order
    assert {type(value) for value in row.values()} == {str, bool, int, float}


def test_one_value_per_task_or_none() -> None:
    with pytest.raises(ValueError):
        flatten_row({"mu": np.zeros(3)}, TASKS)
    assert flatten_row({"mu": np.zeros(1)}, ["pong"]) == {"mu/pong": 0.0}
    assert flatten_row({}, TASKS) == {}


def test_a_logged_row_arrives_at_a_courier_server() -> None:
    """Courier would never answer if a NumPy value were left in the arguments."""
    received: list[tuple[str, list[Row]]] = []
    server = courier.Server()
    server.Bind("record", lambda table, rows: received.append((table, rows)))
    server.Start()
    try:
        client = courier.Client(f"localhost:{server.port}", call_timeout=20.0)
        logger = RowLogger(lambda row: client.record("learner", [row]), TASKS)
        logger.write(DATA)
        logger.write({"steps": np.int64(4)})
        logger.close()
    finally:
        server.Stop()
    assert received == [("learner", [ROW]), ("learner", [{"steps": 4}])]
    json.dumps(received)  # and no NumPy value arrived


def read(path: pathlib.Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_csv_grows_and_goes_on_after_reopening(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "table.csv"
    table = CSVTable(path)
    table.append([])
    assert not path.exists()
    table.append([{"task": "a, b", "x": 1}, {"task": 'q"', "x": 0.1}])
    table.append([{"x": 2, "task": "c"}])  # values go by column, not by position
    reopened = CSVTable(path)
    reopened.append([{"x": 3, "task": "d"}])
    assert read(path) == [["task", "x"], ["a, b", "1"], ['q"', "0.1"], ["c", "2"], ["d", "3"]]


def test_a_row_that_a_killed_writer_left_half_is_cut_off(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "table.csv"
    CSVTable(path).append([{"a": 1, "b": 2}])
    with path.open("a") as file:
        file.write("3,4")
    CSVTable(path).append([{"a": 5, "b": 6}])
    assert read_rows(path) == [{"a": "1", "b": "2"}, {"a": "5", "b": "6"}]


def test_a_float_is_read_back_exactly(tmp_path: pathlib.Path) -> None:
    value = 0.1 + 0.2
    CSVTable(tmp_path / "table.csv").append([{"x": value}])
    assert float(read(tmp_path / "table.csv")[1][0]) == value


def test_other_columns_than_before(tmp_path: pathlib.Path) -> None:
    """A run begun by an earlier or later version resumes, and nothing is lost."""
    path = tmp_path / "table.csv"
    CSVTable(path).append([{"x": 1, "y": "a, b"}, {"x": 2, "y": "c"}])
    table = CSVTable(path)
    table.append([{"x": 3, "z": 0.5, "y": "d"}])
    table.append([{"x": 4}])
    assert read(path) == [
        ["x", "y", "z"],
        ["1", "a, b", "nan"],
        ["2", "c", "nan"],
        ["3", "d", "0.5"],
        ["4", "nan", "nan"],
    ]
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_column_on_a_full_disk(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "table.csv"
    table = CSVTable(path)
    table.append([{"x": "1" * 1000} for _ in range(10)])
    before = path.read_bytes()
    with full_beyond(5000):
        for _ in range(2):
            with pytest.raises(OSError):
                table.append([{"x": 2, "y": 3}])
            assert path.read_bytes() == before
            assert list(tmp_path.iterdir()) == [path]
    table.append([{"x": 2, "y": 3}])
    assert read_rows(path)[-1] == {"x": "2", "y": "3"}
    assert len(read_rows(path)) == 11


def test_an_empty_file_is_a_new_one(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "table.csv"
    path.touch()
    CSVTable(path).append([{"x": 1}])
    assert read(path) == [["x"], ["1"]]


def test_a_reader_of_a_growing_table_sees_complete_rows(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "table.csv"
    assert read_rows(path) == []
    path.write_text("a,b\n1,2\n3,")  # a row being written
    assert read_rows(path) == [{"a": "1", "b": "2"}]
    path.write_text("a,b\n1,2\n3,4\n")
    assert read_rows(path) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


def test_a_follower_sees_each_row_once_and_whole(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "table.csv"
    follower = TableFollower(path)
    assert follower.new_rows() == []
    path.write_text("a,b")  # a header being written
    assert follower.new_rows() == []
    path.write_text("a,b\n1,2\n3,")
    assert follower.new_rows() == [{"a": "1", "b": "2"}]
    assert follower.new_rows() == []
    path.write_text("a,b\n1,2\n3,4\n5,6\n")
    assert follower.new_rows() == [{"a": "3", "b": "4"}, {"a": "5", "b": "6"}]


def test_a_follower_of_a_table_that_another_run_goes_on_with(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "table.csv"
    follower = TableFollower(path)
    path.write_text("a,b\n1,2\n3,")
    follower.new_rows()
    CSVTable(path).append([{"a": 5, "b": 6}])  # cuts off the incomplete row
    assert follower.new_rows() == [{"a": "5", "b": "6"}]


@pytest.mark.parametrize("tail", [0, 1, 3, 4, 5, 11, 12, 13, 100, None])
def test_a_follower_that_begins_near_the_end(tmp_path: pathlib.Path, tail: int | None) -> None:
    path = tmp_path / "table.csv"
    follower = TableFollower(path, tail)
    path.write_text("a,b\n1,2\n3,4\n5,6\n")
    rows = [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}, {"a": "5", "b": "6"}]
    # A row is 4 bytes; one that begins before the tail is not read.
    number = 3 if tail is None else min(3, max(0, (tail - 1) // 4))
    assert follower.new_rows() == rows[3 - number :]
    path.write_text(path.read_text() + "7,8\n")
    assert follower.new_rows() == [{"a": "7", "b": "8"}]


@pytest.mark.parametrize("tail", [None, 5, 100])
def test_a_follower_of_a_table_that_gains_a_column(
    tmp_path: pathlib.Path, tail: int | None
) -> None:
    path = tmp_path / "table.csv"
    table = CSVTable(path)
    table.append([{"a": 1}, {"a": 2}, {"a": 3}])
    follower = TableFollower(path, tail)
    assert follower.new_rows()[-1] == {"a": "3"}
    table.append([{"a": 4}])
    table.append([{"a": 5, "b": 6}])
    assert follower.new_rows() == [{"a": "4", "b": "nan"}, {"a": "5", "b": "6"}]
    table.append([{"a": 7, "b": 8}])
    assert follower.new_rows() == [{"a": "7", "b": "8"}]
