"""Reads the tables that a run writes while training, as NumPy arrays."""

import csv
import dataclasses
import io
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from launch_programs.run.metrics import complete_lines
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory

# Integer columns; all others, except `task`, are float64.
_COUNTS = dict.fromkeys(
    (
        "actor",
        "episode_length",
        "frames",
        "learner_steps",
        "policy_lag_max",
        "skipped_updates",
    ),
    np.int64,
)

# Columns of the episode tables, in the order of `Episodes`' fields.
_EPISODE = [
    ("time", np.float64),
    ("frames", np.int64),
    ("episode_return", np.float64),
    ("episode_length", np.int64),
]


@dataclasses.dataclass(frozen=True)
class Episodes:
    """Episodes of one task in the order in which they ended; arrays of shape [N]."""

    time: np.ndarray  # float64, seconds since 1970
    frames: np.ndarray  # int64, frames learned from by the episode's end; never decreases
    returns: np.ndarray  # float64, sums of unclipped rewards
    lengths: np.ndarray  # int64, agent steps

    def __len__(self) -> int:
        return len(self.frames)


class Tables(NamedTuple):
    """The tables in a `History`, under the same names."""

    learner: Mapping[str, np.ndarray]
    actors: Mapping[str, Episodes]
    evaluator: Mapping[str, Episodes]


@dataclasses.dataclass(frozen=True)
class History:
    """A run's tables, without the rows that a resumed run replaced."""

    path: pathlib.Path  # the run directory
    config: RunConfig
    # Columns of learner.csv, [N] each: `learner_steps`, `frames`, `policy_lag_max` and
    # `skipped_updates` int64, the others float64; frames never decrease. Empty before the first
    # row.
    learner: Mapping[str, np.ndarray]
    actors: Mapping[str, Episodes]  # training episodes, for every task of the run
    evaluator: Mapping[str, Episodes]  # the evaluator's episodes

    @property
    def frames(self) -> int:
        """Environment frames at the newest row of any table; 0 without rows."""
        episodes = [*self.actors.values(), *self.evaluator.values()]
        ends = [e.frames[-1] for e in episodes if len(e)]
        if self.learner:
            ends.append(self.learner["frames"][-1])
        return int(max(ends, default=0))


def read_history(path: str | os.PathLike[str], last: int | None = None) -> History:
    """Reads a run's tables; the run may be in progress.

    A resumed run continues from its newest checkpoint: it learns again from the frames after that,
    and their earlier rows are left out.

    Args:
      path: path of the run directory.
      last: read only about this many bytes at the end of each table; None for all.

    Returns:
      The run's history; tables that do not exist yet are empty.

    Raises:
      ValueError: `path` is not a run directory, or a table is damaged.
      OSError: a file cannot be read.
    """
    directory = RunDirectory(path)
    config = directory.read_config()
    return History(directory.path, config, *read_tables(directory.tables, config.tasks, last=last))


def read_tables(
    paths: Mapping[str, pathlib.Path], tasks: Sequence[str], last: int | None = None
) -> Tables:
    """Reads tables in the format of a run directory, whichever program wrote them.

    Args:
      paths: paths of the tables "learner", "actors" and "evaluator"; files may be missing.
      tasks: names of the tasks that may occur in them.
      last: as for `read_history`.

    Returns:
      The tables, without the rows that a resumed run replaced.

    Raises:
      ValueError: a table is damaged.
      OSError: a file cannot be read.
    """
    learner, actors, evaluator = _current(
        [_read(paths[name], last) for name in ("learner", "actors", "evaluator")]
    )
    return Tables(
        learner={} if learner is None else {name: learner[name] for name in learner.dtype.names},
        actors=_by_task(actors, tasks, paths["actors"]),
        evaluator=_by_task(evaluator, tasks, paths["evaluator"]),
    )


def _read(path: pathlib.Path, last: int | None) -> np.ndarray | None:
    """Rows of a table, [N] with a field for each column; None if there are none yet."""
    header, text = _lines(path, last) if path.exists() else ("", "")
    names = next(csv.reader([header]), [])
    missing = [name for name in ("time", "frames") if names and name not in names]
    if missing:
        raise ValueError(f"{path} is damaged: it has no column {missing[0]!r}")
    if not text:
        return None
    kinds = [(name, object if name == "task" else _COUNTS.get(name, np.float64)) for name in names]
    try:
        # Several times as fast as Python's csv reader, which makes a list of every row.
        return np.loadtxt(
            io.StringIO(text),
            np.dtype(kinds),
            comments=None,
            delimiter=",",
            ndmin=1,
            quotechar='"',
        )
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _lines(path: pathlib.Path, last: int | None) -> tuple[str, str]:
    """A table's header and complete rows; with `last`, only rows within the last bytes."""
    if last is not None and path.stat().st_size > last:
        with path.open() as file:
            header = file.readline()
        begin = path.stat().st_size - last
        return header, complete_lines(path, begin).decode(errors="replace").partition("\n")[2]
    header, _, rows = complete_lines(path).decode().partition("\n")
    return header, rows


def _by_task(
    table: np.ndarray | None, tasks: Sequence[str], path: pathlib.Path
) -> dict[str, Episodes]:
    """Splits a table of episodes."""
    if table is None:
        table = np.empty(0, [*_EPISODE, ("task", object)])
    index = {task: i for i, task in enumerate(tasks)}
    try:
        columns = [table[name] for name, _ in _EPISODE]
        of_row = np.fromiter((index[task] for task in table["task"]), np.int64, len(table))
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} is damaged: no such column or task: {error}") from error
    return {
        task: Episodes(*(column[of_row == i] for column in columns)) for task, i in index.items()
    }


def _current(tables: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
    """The tables without the rows that a resumed run replaced.

    While a program runs, frames never decrease from one row to the next. Where they do, a resumed
    run continued from about there: rows written before that point but with later frames, in any
    table, belong to parameters that no longer exist. The table of training episodes locates the
    point best, since its rows are the closest together.
    """
    times, frames = [np.array([np.inf])], [np.array([np.iinfo(np.int64).max])]
    for table in tables:
        if table is not None:
            resumed = table[1:][np.diff(table["frames"]) < 0]
            times.append(resumed["time"])
            frames.append(resumed["frames"])
    order = np.argsort(np.concatenate(times))
    starts = np.concatenate(times)[order]
    lowest_since = _lowest_from(np.concatenate(frames)[order])
    current: list[np.ndarray | None] = []
    for table in tables:
        if table is not None:
            # Within a table, go by the order of the rows: the clock may have been set back.
            limit = np.minimum(
                _lowest_from(table["frames"]),
                lowest_since[np.searchsorted(starts, table["time"], side="right")],
            )
            table = table[table["frames"] <= limit]
        current.append(table)
    return current


def _lowest_from(values: np.ndarray) -> np.ndarray:
    """The minimum of each value and all later ones: [N]."""
    return np.minimum.accumulate(values[::-1])[::-1]
