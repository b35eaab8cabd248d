"""Aggregates over runs as usually reported in the field, computed by rliable.

The interquartile mean is that of Agarwal et al. 2021 (https://arxiv.org/abs/2108.13264), with
stratified bootstrap confidence intervals: runs are resampled within each task.
"""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.stats
from rliable import library

_CONFIDENCE = 0.95
_RESAMPLES = 2_000


class Estimate(NamedTuple):
    """An interquartile mean and its confidence interval; arrays of shape [P]."""

    iqm: np.ndarray
    low: np.ndarray  # NaN for a single run, which has no interval
    high: np.ndarray


def interquartile_mean(scores: np.ndarray) -> Estimate:
    """The mean of the middle half of all runs' scores on all tasks, at each point.

    Args:
      scores: float64 [runs, tasks, P], without NaN.

    Returns:
      Its estimate at each of the P points. The same scores give the same interval.
    """

    def at_each_point(values: np.ndarray) -> np.ndarray:
        # Like rliable.metrics.aggregate_iqm, which takes one point and would need minutes for many.
        return scipy.stats.trim_mean(values.reshape(-1, values.shape[-1]), 0.25, axis=0)

    if len(scores) < 2:
        unknown = np.full(scores.shape[-1], np.nan)
        return Estimate(at_each_point(scores), unknown, unknown)
    with _seeded():
        points, intervals = library.get_interval_estimates(
            {"": scores}, at_each_point, reps=_RESAMPLES, confidence_interval_size=_CONFIDENCE
        )
    low, high = intervals[""]
    return Estimate(points[""], low, high)


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """Seeds NumPy's global generator, which rliable uses whatever generator it is given."""
    state = np.random.get_state()
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(state)
