"""Computes learning curves from histories: smoothing, groups of seeds, mean and spread."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from environments import suite_name
from launch_programs.run.history import Episodes, History
from launch_programs.run.run_config import CHANGEABLE, flatten

# Settings in which the runs of one group may differ. A run's length is not among them, although it
# may change on a resume, because the learning rate schedule depends on it.
_SAME_GROUP = (CHANGEABLE | {"seed"}) - {"agent.total_environment_frames"}

# Number of points at which curves are evaluated.
_POINTS = 100


class Group(NamedTuple):
    """Runs that differ at most in their seeds and in settings that do not affect learning."""

    label: str  # how they differ from other groups, such as "popart=False"; "" for one group
    runs: tuple[History, ...]


class Band(NamedTuple):
    """A curve over several runs: arrays of shape [P], NaN where any of the runs has no value."""

    mean: np.ndarray  # over runs
    low: np.ndarray  # lowest run
    high: np.ndarray  # highest run


def group(histories: Sequence[History]) -> list[Group]:
    """Groups runs, in the order of each group's first run, and labels the groups."""
    settings = [_settings(history) for history in histories]
    distinct: list[dict[str, Any]] = []
    for values in settings:
        if values not in distinct:
            distinct.append(values)
    return [
        Group(
            _label(values, distinct),
            tuple(h for h, own in zip(histories, settings, strict=True) if own == values),
        )
        for values in distinct
    ]


def _label(values: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]) -> str:
    """Describes how the settings of one group differ from those of the others.

    Settings shared with more than half of the groups are left out, unless no others remain.
    """
    names = [name for name in values if any(other[name] != values[name] for other in groups)]
    own = [
        name
        for name in names
        if 2 * sum(other[name] == values[name] for other in groups) <= len(groups)
    ]
    return ", ".join(f"{name.split('.')[-1]}={_shown(name, values[name])}" for name in own or names)


def _settings(history: History) -> dict[str, Any]:
    values = {k: v for k, v in flatten(history.config).items() if k not in _SAME_GROUP}
    return {**values, "tasks": suite_name(history.config.task_list())}


def _shown(name: str, value: Any) -> str:
    return f"{value:,}" if name == "agent.total_environment_frames" else str(value)


def grid(histories: Sequence[History]) -> np.ndarray:
    """Evenly spaced frames over the longest run, float64 [P], excluding 0 and including its end."""
    return np.linspace(0, max(history.frames for history in histories), _POINTS + 1)[1:]


def recent_mean(episodes: Episodes, window: int, at: np.ndarray) -> np.ndarray:
    """Mean return of the last episodes before given frames.

    Args:
      episodes: episodes of one task.
      window: number of episodes to average. The mean is over fewer at the beginning, and over all
        episodes since the previous point if those are more.
      at: frames [P], ascending.

    Returns:
      float64 [P], NaN before the first episode.
    """
    sums = np.concatenate([[0.0], np.cumsum(episodes.returns)])
    end = np.searchsorted(episodes.frames, at, side="right")
    begin = np.maximum(np.minimum(end - window, np.concatenate([[0], end[:-1]])), 0)
    count = np.where(end > 0, end - begin, np.nan)
    return (sums[end] - sums[begin]) / count


def task_curve(history: History, task: str, window: int, at: np.ndarray) -> np.ndarray:
    """A run's mean training returns on one task: float64 [P], NaN where the run has none.

    Args:
      history: history of the run.
      task: name of the task, which the run need not have.
      window: number of episodes to average.
      at: frames [P], ascending.
    """
    if task not in history.actors:
        return np.full(len(at), np.nan)
    return np.where(at <= history.frames, recent_mean(history.actors[task], window, at), np.nan)


def normalised_curves(history: History, window: int, at: np.ndarray) -> np.ndarray | None:
    """A run's normalised training returns in percent: 0 is random play, 100 human or optimal play.

    Args:
      history: history of the run.
      window: number of episodes to average.
      at: frames [P], ascending.

    Returns:
      float64 [learned tasks, P], NaN where the run has no value; None if a task has no scores.
    """
    tasks = [history.config.task_list()[i] for i in history.config.learned_tasks]
    if any(task.human_normalised(0.0) is None for task in tasks):
        return None
    return np.array(
        [
            [task.human_normalised(x) for x in task_curve(history, task.name, window, at)]
            for task in tasks
        ],
        float,
    )


def column_curve(history: History, name: str, at: np.ndarray) -> np.ndarray:
    """A column of learner.csv, interpolated: float64 [P], NaN outside the run's rows."""
    if name not in history.learner:
        return np.full(len(at), np.nan)
    frames = history.learner["frames"]
    return np.interp(at, frames, history.learner[name], left=np.nan, right=np.nan)


def band(runs: Sequence[History], curve: Callable[[History], np.ndarray]) -> Band:
    """Mean and spread of the runs' curves, each [P]."""
    values = np.stack([curve(run) for run in runs])
    # NaN in one run makes the mean NaN, which would otherwise jump where a run ends.
    return Band(values.mean(axis=0), values.min(axis=0), values.max(axis=0))
