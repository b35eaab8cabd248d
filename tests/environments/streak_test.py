"""Several balls in a row."""

from collections.abc import Callable

import numpy as np
import pytest
from absl.testing import absltest
from dm_env import test_utils

from environments import TASKS
from environments.toy import Streak
from environments.toy.board import LEFT, RIGHT
from tests.environments.toy_play import STEPS, go_to, play, shown


def miss(board: np.ndarray) -> int:
    """Goes to the wall that is farther from the ball."""
    return LEFT if shown(board, 1.0) > 2 else RIGHT


def catch_then_miss(balls: int) -> Callable[[np.ndarray], int]:
    """A policy that catches some balls and misses the next."""
    caught = 0

    def policy(board: np.ndarray) -> int:
        nonlocal caught
        action = (go_to(1.0) if caught < balls else miss)(board)
        caught += bool(board[-2].any())  # the coming step catches the ball
        return action

    return policy


@pytest.mark.parametrize("scale", (1, 100))
def test_the_optimum(scale: float) -> None:
    environment = Streak(scale=scale, seed=1)
    assert TASKS[f"streak_x{scale}"].human_score == scale
    for _ in range(50):
        rewards = play(environment, go_to(1.0))
        assert rewards == [0.0] * (3 * STEPS - 1) + [scale]


@pytest.mark.parametrize("caught", (0, 1, 2))
def test_a_missed_ball_ends_the_episode_unpaid(caught: int) -> None:
    environment = Streak(seed=2)
    for _ in range(20):
        assert play(environment, catch_then_miss(caught)) == [0.0] * ((caught + 1) * STEPS)


def test_the_next_ball_comes_anywhere_and_the_paddle_stays() -> None:
    environment = Streak(seed=3)
    columns = []
    for _ in range(300):
        timestep = environment.reset()
        first = shown(timestep.observation, 1.0)
        for _ in range(STEPS):
            timestep = environment.step(go_to(1.0)(timestep.observation))
        assert timestep.mid()
        assert timestep.observation[-1].argmax() == first
        assert timestep.observation.sum() == 2 and timestep.observation[0].sum() == 1
        columns.append((first, shown(timestep.observation, 1.0)))
    # 25 pairs; a wrong chain of columns would lack some. The chance that one is missing is 1e-4.
    assert len(set(columns)) == 25


@pytest.mark.parametrize("scale", (1, 100))
def test_random_score(scale: float) -> None:
    """Each of three balls is caught with chance 1/5 whatever the paddle does, see `catch_test`."""
    assert TASKS[f"streak_x{scale}"].random_score == pytest.approx(scale / 5**3, rel=1e-12)


class DmEnvContractTest(test_utils.EnvironmentTestMixin, absltest.TestCase):
    """dm_env's own interface tests; 20 steps cross the ends of two episodes."""

    def make_object_under_test(self) -> Streak:
        return Streak(seed=0)
