"""Gold or copper."""

from fractions import Fraction

import numpy as np
import pytest
from absl.testing import absltest
from dm_env import test_utils

from environments import TASKS
from environments.toy import Choice
from environments.toy.board import STAY
from environments.toy.choice import COPPER_SHOWN, GOLD_SHOWN
from tests.environments.toy_play import STEPS, go_to, play, random_paddles, shown

SCALES = (1, 100, 10_000)


def test_an_episode() -> None:
    environment = Choice(seed=0)
    timestep = environment.reset()
    gold, copper = (shown(timestep.observation, value) for value in (GOLD_SHOWN, COPPER_SHOWN))
    assert gold != copper
    for row in range(1, STEPS + 1):
        assert not timestep.last()
        timestep = environment.step(STAY)
        expected = np.zeros((10, 5), np.float32)
        expected[9, 2] = 1
        expected[row, gold] = 1
        expected[row, copper] = 0.5
        np.testing.assert_array_equal(timestep.observation, expected)
        assert row == STEPS or timestep.reward == 0
    assert timestep.last() and timestep.discount == 0
    assert environment.step(STAY).first()


@pytest.mark.parametrize("scale", SCALES)
def test_rewards_and_optimum(scale: float) -> None:
    environment = Choice(scale=scale, seed=1)
    optimum = TASKS[f"choice_x{scale}"].human_score
    assert optimum is not None
    # The largest possible reward, from any columns.
    assert [sum(play(environment, go_to(GOLD_SHOWN))) for _ in range(50)] == [optimum] * 50
    assert [sum(play(environment, go_to(COPPER_SHOWN))) for _ in range(50)] == [optimum / 10] * 50
    assert {sum(play(environment, lambda board: STAY)) for _ in range(200)} == {
        0.0,
        1.0 * scale,
        10.0 * scale,
    }


@pytest.mark.parametrize("scale", SCALES)
def test_random_score_is_exact(scale: float) -> None:
    last = random_paddles()[-1]
    pairs = [(gold, copper) for gold in range(5) for copper in range(5) if gold != copper]
    expected = sum(
        Fraction(1, len(pairs)) * (10 * last[gold] + last[copper]) for gold, copper in pairs
    )
    assert TASKS[f"choice_x{scale}"].random_score == pytest.approx(float(expected) * scale)


def test_all_pairs_come_equally_often() -> None:
    environment = Choice(seed=2)
    counts = np.zeros((5, 5))
    for _ in range(2000):
        board = environment.reset().observation
        counts[shown(board, GOLD_SHOWN), shown(board, COPPER_SHOWN)] += 1
    assert (np.diag(counts) == 0).all()
    # Binomial, 100 of 2,000 expected, standard deviation 9.7.
    assert (abs(counts[~np.eye(5, dtype=bool)] - 100) < 4.5 * 9.7).all()


def test_clipping_makes_gold_and_copper_equal() -> None:
    environment = Choice(seed=3)
    for value in (GOLD_SHOWN, COPPER_SHOWN):
        assert np.clip(sum(play(environment, go_to(value))), -1, 1) == 1


class DmEnvContractTest(test_utils.EnvironmentTestMixin, absltest.TestCase):
    """dm_env's own interface tests; 20 steps cross the ends of two episodes."""

    def make_object_under_test(self) -> Choice:
        return Choice(seed=0)
