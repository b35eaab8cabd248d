"""Scores, normalised and aggregated over tasks."""

import math

import numpy as np
import pytest

from environments import TASKS, parse_level_name
from environments.scores import Aggregate, aggregate, interquartile_mean, score


def test_score() -> None:
    # Wang et al. (2016): Pong, random -20.7, human 14.6.
    result = score(TASKS["pong"], [-21.0, -20.0, 11.0])
    assert result.task == "pong"
    assert result.episodes == 3
    assert result.mean == pytest.approx(-10.0)
    # Deviations -11, -10, 21: squares sum to 662, halved 331.
    assert result.standard_deviation == pytest.approx(math.sqrt(331.0))
    assert (result.random, result.human) == (-20.7, 14.6)
    assert result.human_normalised == pytest.approx(100 * 10.7 / 35.3)


def test_score_of_one_episode_has_no_deviation() -> None:
    result = score(TASKS["catch_x100"], [100.0])
    assert (result.episodes, result.mean, result.standard_deviation) == (1, 100.0, 0.0)
    assert result.human_normalised == pytest.approx(100.0)


@pytest.mark.parametrize(("mean", "percent"), [(-60, 0), (20, 50), (100, 100), (-220, -100)])
def test_toy_scores_are_normalised_by_random_and_best(mean: float, percent: float) -> None:
    assert score(TASKS["catch_x100"], [mean]).human_normalised == pytest.approx(percent)


def test_aggregate() -> None:
    result = aggregate([200.0, 0.0, 100.0, 50.0])
    assert result == pytest.approx(Aggregate(mean=87.5, median=75.0, capped_mean=62.5))
    # Capped only from above.
    assert aggregate([-100.0]) == pytest.approx(Aggregate(-100.0, -100.0, -100.0))


def test_nothing_to_aggregate() -> None:
    assert aggregate([]) is None
    assert aggregate([100.0, None]) is None


def test_interquartile_mean_against_rliable() -> None:
    """Against the field's own library, with episodes as runs."""
    rliable = pytest.importorskip("rliable.library")
    metrics = pytest.importorskip("rliable.metrics")
    tasks = [TASKS["catch_x1"], TASKS["catch_x100"], TASKS["pong"]]
    rng = np.random.default_rng(0)
    returns = [rng.normal(loc, scale, 12) for loc, scale in ((0.3, 0.4), (20, 50), (5, 9))]
    result = interquartile_mean(tasks, [x.tolist() for x in returns])
    assert result is not None

    percent = np.array(
        [[task.human_normalised(x) for x in r] for task, r in zip(tasks, returns, strict=True)]
    ).T
    assert result.mean == pytest.approx(metrics.aggregate_iqm(percent))
    _, intervals = rliable.get_interval_estimates(
        {"": percent}, lambda x: np.array([metrics.aggregate_iqm(x)]), reps=2000
    )
    low, high = intervals[""][:, 0]
    # Bootstraps are random: their ends differ by a few hundredths of the interval.
    width = high - low
    assert result.low == pytest.approx(low, abs=0.1 * width)
    assert result.high == pytest.approx(high, abs=0.1 * width)
    assert interquartile_mean(tasks, [x.tolist() for x in returns]) == result


def test_interquartile_mean_needs_scores_and_two_episodes() -> None:
    assert interquartile_mean([TASKS["pong"]], [[1.0]]) is None
    assert interquartile_mean([], []) is None
    (made,) = parse_level_name("gym:CartPole-v1")
    assert interquartile_mean([made, TASKS["pong"]], [[1.0, 2.0], [3.0, 4.0]]) is None
