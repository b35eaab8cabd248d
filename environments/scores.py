"""Scores of played episodes, normalised by random and human play."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from environments.task import Task

# A task's score is the mean return of its last training episodes, at most this many.
RECENT_EPISODES = 100

_RESAMPLES = 2_000


class TaskScore(NamedTuple):
    """Returns of one task's evaluation episodes."""

    task: str
    episodes: int
    mean: float
    standard_deviation: float  # of the episodes' returns, n - 1; 0 for one episode
    random: float | None  # the task's
    human: float | None
    human_normalised: float | None  # percent, of the mean; None without the two above
    cut_off: int = 0  # episodes that were cut off for their length
    # Over as many episodes on levels not seen in training; None where there are none.
    unseen_mean: float | None = None
    unseen_normalised: float | None = None  # percent


class InterquartileMean(NamedTuple):
    """Interquartile mean of human-normalised returns, percent, with its confidence interval."""

    mean: float
    low: float  # of the 95 % interval
    high: float


class Aggregate(NamedTuple):
    """Human-normalised scores over tasks, percent."""

    mean: float
    median: float
    capped_mean: float  # of min(score, 100)


def score(
    task: Task,
    returns: Sequence[float],
    cut_off: int = 0,
    unseen_returns: Sequence[float] = (),
) -> TaskScore:
    """Summarises the returns of one task's episodes, of which there is at least one.

    Args:
      task: the task that was played.
      returns: the episodes' returns.
      cut_off: how many episodes were cut off for their length.
      unseen_returns: returns on levels not seen in training; empty for none.
    """
    mean = statistics.fmean(returns)
    unseen = statistics.fmean(unseen_returns) if unseen_returns else None
    return TaskScore(
        task=task.name,
        episodes=len(returns),
        mean=mean,
        standard_deviation=statistics.stdev(returns) if len(returns) > 1 else 0.0,
        random=task.random_score,
        human=task.human_score,
        human_normalised=task.human_normalised(mean),
        cut_off=cut_off,
        unseen_mean=unseen,
        unseen_normalised=None if unseen is None else task.human_normalised(unseen),
    )


def interquartile_mean(
    tasks: Sequence[Task], returns: Sequence[Sequence[float]]
) -> InterquartileMean | None:
    """The mean of the middle half of all episodes' scores (Agarwal et al. 2021, arXiv 2108.13264).

    The interval is from a bootstrap that resamples each task's episodes, as many as there are. It
    shows how much more episodes might change, and says nothing about other training runs.

    Args:
      tasks: the tasks that were played.
      returns: the returns of each task's episodes, the same number for each.

    Returns:
      None if a task has no scores to normalise by or only one episode, or if there is no task. The
      same returns give the same interval.
    """
    import scipy.stats  # takes half a second

    normalised = [
        [task.human_normalised(x) for x in r] for task, r in zip(tasks, returns, strict=True)
    ]
    scores = np.array(normalised, np.float64)  # [tasks, episodes], NaN for None
    if len(scores) == 0 or scores.shape[1] < 2 or np.isnan(scores).any():
        return None

    def middle(*resampled: np.ndarray, axis: int) -> np.ndarray:
        return scipy.stats.trim_mean(np.concatenate(resampled, axis=axis), 0.25, axis=axis)

    interval = scipy.stats.bootstrap(
        tuple(scores),
        middle,
        n_resamples=_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return InterquartileMean(
        float(middle(*scores, axis=0)), float(interval.low), float(interval.high)
    )


def aggregate(normalised: Sequence[float | None]) -> Aggregate | None:
    """Mean, median and capped mean over tasks (the capped mean is that of arXiv 1802.01561).

    Args:
      normalised: each task's score in percent, None for a task without scores to normalise by.

    Returns:
      None if a task has no such score, or if there is no task.
    """
    known = [x for x in normalised if x is not None]
    if not known or len(known) < len(normalised):
        return None
    return Aggregate(
        mean=math.fsum(known) / len(known),
        median=statistics.median(known),
        capped_mean=math.fsum(min(x, 100.0) for x in known) / len(known),
    )
