"""What a run has written about its training, as NumPy arrays."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from launch_programs.metrics import read_columns
from launch_programs.run_config import RunConfig
from launch_programs.run_directory import RunDirectory

# Columns of learner.csv that count; all others are read as float64.
_COUNTS = ("learner_steps", "frames", "policy_lag_max", "skipped_updates")


@dataclasses.dataclass(frozen=True)
class Episodes:
    """Episodes of one task in the order in which they ended; arrays of shape [N]."""

    time: np.ndarray  # float64, seconds since 1970
    frames: np.ndarray  # int64, environment frames learned from when they ended; never falls
    returns: np.ndarray  # float64, sums of unclipped rewards
    lengths: np.ndarray  # int64, agent steps

    def __len__(self) -> int:
        return len(self.frames)


@dataclasses.dataclass(frozen=True)
class History:
    """A run's tables, without the rows that a resumed run has made again."""

    path: pathlib.Path  # the run directory
    config: RunConfig
    # Columns of learner.csv, [N] each: `learner_steps`, `frames`, `policy_lag_max` and
    # `skipped_updates` int64, the others float64; frames never fall. Empty before the first row.
    learner: Mapping[str, np.ndarray]
    actors: Mapping[str, Episodes]  # training episodes, for every task of the run
    evaluator: Mapping[str, Episodes]  # the evaluator's

    @property
    def frames(self) -> int:
        """Environment frames at the last row of any table; 0 without rows."""
        episodes = [*self.actors.values(), *self.evaluator.values()]
        ends = [e.frames[-1] for e in episodes if len(e)]
        if self.learner:
            ends.append(self.learner["frames"][-1])
        return int(max(ends, default=0))


def read_history(path: str | os.PathLike[str]) -> History:
    """Reads a run's tables, while the run goes on too.

    A run that is resumed goes on from its newest checkpoint: the frames after that are learned from
    again, and rows of theirs from before are left out.

    Args:
      path: of the run directory.

    Returns:
      Its history; tables that are not there yet are empty.

    Raises:
      ValueError: it is not a run directory, or a table is damaged.
      OSError: a file cannot be read.
    """
    directory = RunDirectory(path)
    config = directory.read_config()
    tables = {
        name: _read(directory.path / f"{name}.csv") for name in ("learner", "actors", "evaluator")
    }
    current = dict(zip(tables, _current(list(tables.values())), strict=True))
    learner = {name: column[current["learner"]] for name, column in tables["learner"].items()}
    return History(
        path=directory.path,
        config=config,
        learner=learner if len(learner.get("frames", ())) else {},
        **{
            name: _by_task(tables[name], current[name], config.tasks, directory.path / name)
            for name in ("actors", "evaluator")
        },
    )


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """A table's columns, [N] each; `task` as strings."""
    columns = read_columns(path)
    missing = [name for name in ("time", "frames") if columns and name not in columns]
    if missing:
        raise ValueError(f"{path} is damaged: it has no column {missing[0]!r}")
    arrays = {}
    for name, values in columns.items():
        if name == "task":
            arrays[name] = np.asarray(values, object)
            continue
        whole = name in (*_COUNTS, "episode_length", "actor")
        try:
            arrays[name] = np.fromiter(
                map(int if whole else float, values), np.int64 if whole else float, len(values)
            )
        except ValueError as error:
            raise ValueError(f"{path} is damaged: column {name!r}: {error}") from error
    return arrays


def _by_task(
    table: Mapping[str, np.ndarray],
    current: np.ndarray,
    tasks: Sequence[str],
    path: pathlib.Path,
) -> dict[str, Episodes]:
    """Splits a table of episodes, of which `current` says what rows to take."""
    index = {task: i for i, task in enumerate(tasks)}
    try:
        columns = [
            table[name][current] if table else np.empty(0, dtype)
            for name, dtype in (
                ("time", float),
                ("frames", np.int64),
                ("episode_return", float),
                ("episode_length", np.int64),
            )
        ]
        names = table["task"][current] if table else ()
        of_row = np.fromiter((index[task] for task in names), np.int64, len(names))
    except KeyError as error:
        raise ValueError(
            f"{path}.csv is damaged: {error.args[0]!r} is not a column or task"
        ) from error
    return {
        task: Episodes(*(column[of_row == i] for column in columns)) for task, i in index.items()
    }


def _current(tables: Sequence[Mapping[str, np.ndarray]]) -> Iterable[np.ndarray]:
    """For each table, which rows were not made again by a resumed run: bool [N].

    While a program runs, frames never fall from one row to the next. Where they do, a resumed run
    went on from about there, and what is of later frames but was written before, in any of the
    tables, is of parameters that no longer exist. The table of episodes tells that point best,
    since its rows are the closest together.
    """
    resumed_times, resumed_frames = [], []
    for table in tables:
        if table:
            first = np.flatnonzero(np.diff(table["frames"]) < 0) + 1
            resumed_times.append(table["time"][first])
            resumed_frames.append(table["frames"][first])
    times = np.concatenate([*resumed_times, [np.inf]])
    frames = np.concatenate([*resumed_frames, [np.iinfo(np.int64).max]])
    order = np.argsort(times)
    times, lowest_from = times[order], _lowest_from(frames[order])
    for table in tables:
        if not table:
            yield np.empty(0, bool)
            continue
        own = _lowest_from(table["frames"])  # by the order in the file: clocks may be set back
        later = lowest_from[np.searchsorted(times[:-1], table["time"], side="right")]
        yield (table["frames"] <= own) & (table["frames"] <= later)


def _lowest_from(values: np.ndarray) -> np.ndarray:
    """The lowest of each value and those after it: [N]."""
    return np.minimum.accumulate(values[::-1])[::-1]
