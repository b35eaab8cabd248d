"""Metrics: nodes send rows of plain values, and the coordinator appends them to CSV files."""

import csv
import io
import itertools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
from acme.utils import loggers

from launch_programs.run.appending import append

Row = dict[str, str | int | float]

# Stands in a table where a row has no value for a column.
MISSING = "nan"


def flatten_row(data: Mapping[str, Any], tasks: Sequence[str]) -> Row:
    """`data` as Python scalars; an array with one value per task becomes `name/task` columns.

    Courier never answers a call whose arguments contain NumPy values, so none may remain.
    """
    row: Row = {}
    for name, value in data.items():
        if isinstance(value, str):
            row[name] = value
        elif np.ndim(value) == 0:
            row[name] = np.asarray(value).item()
        else:
            row.update({f"{name}/{task}": float(x) for task, x in zip(tasks, value, strict=True)})
    return row


class RowLogger(loggers.Logger):
    """Acme's logger interface over a function that takes rows."""

    def __init__(self, write_row: Callable[[Row], None], tasks: Sequence[str]):
        """Passes every row to `write_row`; arrays have one value for each of `tasks`."""
        self._write_row = write_row
        self._tasks = tasks

    def write(self, data: Mapping[str, Any]) -> None:
        """Passes on one row."""
        self._write_row(flatten_row(data, self._tasks))

    def close(self) -> None:
        """Nothing to close."""


class TableFollower:
    """Reads a table that another process appends to, each row once.

    A table that gains a column becomes a new file, with the same rows, in place of the old one
    (see `CSVTable`).
    """

    def __init__(self, path: pathlib.Path, tail: int | None = None):
        """Starts at the table's beginning; the file need not exist yet.

        Args:
          path: path of the table.
          tail: if given, starts at the first whole row in the last `tail` bytes that the table has
            at the first read.
        """
        self._path = path
        self._tail = tail
        self._read = 0  # bytes
        self._passed = 0  # rows, including skipped ones
        self._file: int | None = None  # inode
        self._columns: list[str] | None = None

    def new_rows(self) -> list[dict[str, str]]:
        """The complete rows added since the last call."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return []
        with file:
            inode = os.fstat(file.fileno()).st_ino
            if self._columns is None or inode != self._file:
                header = file.readline()
                if not header.endswith(b"\n"):
                    return []
                [self._columns] = csv.reader([header.decode()])
                self._skip(file)
                self._file = inode
            file.seek(self._read)
            data = file.read()
        complete = data[: data.rfind(b"\n") + 1]
        self._read += len(complete)
        rows = list(csv.reader(complete.decode().splitlines()))
        self._passed += len(rows)
        return [dict(zip(self._columns, row, strict=True)) for row in rows]

    def _skip(self, file: BinaryIO) -> None:
        """Moves to the first wanted row; the file must be at the end of the header."""
        first = file.tell()
        if self._file is None and self._tail is not None:
            file.seek(max(first - 1, file.seek(0, os.SEEK_END) - self._tail))
            file.readline()  # the rest of a row, or of the header
            self._read = file.tell()
            file.seek(first)
            self._passed = file.read(self._read - first).count(b"\n")
            return
        for _ in range(self._passed):
            file.readline()
        self._read = file.tell()


def read_rows(path: pathlib.Path) -> list[dict[str, str]]:
    """The complete rows of a table that may be growing; none if it does not exist yet."""
    return TableFollower(path).new_rows()


def complete_lines(path: pathlib.Path, begin: int = 0) -> bytes:
    """Contents of a growing file from byte `begin` on, without an incomplete last line."""
    with path.open("rb") as file:
        file.seek(begin)
        data = file.read()
    return data[: data.rfind(b"\n") + 1]


def read_columns(path: pathlib.Path) -> list[str] | None:
    """The columns of a table; None if it is missing or empty."""
    if not path.exists():
        return None
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return next(csv.reader(file), None)


class CSVTable:
    """A CSV file to append rows to, which continues where an earlier start stopped.

    Rows may have different columns from earlier ones, as after an update of this program: a new
    column is "nan" in the earlier rows, a dropped one in the later rows.
    """

    def __init__(self, path: pathlib.Path):
        """Cuts off a partial row that a killed writer left; does not keep the file open."""
        self._path = path
        if path.exists():
            with path.open("rb+") as partial:
                partial.truncate(partial.read().rfind(b"\n") + 1)
        self._columns = read_columns(path)

    def append(self, rows: Sequence[Row]) -> None:
        """Appends all of the rows or none.

        Raises:
          OSError: they cannot be written, as on a full disk.
        """
        if not rows:
            return
        columns = list(dict.fromkeys([*(self._columns or []), *itertools.chain(*rows)]))
        if self._columns is not None and columns != self._columns:
            self._widen(columns)
        lines = _lines([[row.get(column, MISSING) for column in columns] for row in rows])
        append(self._path, lines, _lines([columns]))
        self._columns = columns

    def _widen(self, columns: list[str]) -> None:
        """Replaces the file by one with these columns, which begin with the present ones."""
        rows = [[row.get(c, MISSING) for c in columns] for row in read_rows(self._path)]
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            new.write_bytes(_lines([columns, *rows]))
            os.replace(new, self._path)
        except OSError:
            new.unlink(missing_ok=True)
            raise
        self._columns = columns


def _lines(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
