"""A reward on every step."""

from fractions import Fraction

import numpy as np
import pytest
from absl.testing import absltest
from dm_env import test_utils

from environments import TASKS
from environments.toy import Follow
from environments.toy.board import STAY
from tests.environments.toy_play import MOVES, STEPS, go_to, moved, play, random_paddles, shown


def best_return(ball: int) -> int:
    """The largest return, by dynamic programming over the paddle's column."""
    best = dict.fromkeys(range(5), 0)
    for _ in range(STEPS):
        best = {
            paddle: max((1 if to == ball else -1) + best[to] for to in reached)
            for paddle in range(5)
            for reached in [[moved(paddle, move) for move in MOVES]]
        }
    return best[2]


@pytest.mark.parametrize("scale", (1, 100))
def test_scores_are_exact(scale: float) -> None:
    task = TASKS[f"follow_x{scale}"]
    optimum = Fraction(sum(best_return(ball) for ball in range(5)), 5)
    assert task.human_score == pytest.approx(float(optimum) * scale)
    random = sum(
        Fraction(1, 5) * (2 * paddle[ball] - 1) for paddle in random_paddles() for ball in paddle
    )
    # Columns that the paddle cannot have reached yet: -1.
    unreached = sum(5 - len(paddle) for paddle in random_paddles())
    assert task.random_score == pytest.approx(float(random - Fraction(unreached, 5)) * scale)


def test_the_optimum_is_reached_from_every_column() -> None:
    environment = Follow(scale=100.0, seed=1)
    seen = set()
    for _ in range(50):
        columns: list[int] = []

        def policy(board: np.ndarray, columns: list[int] = columns) -> int:
            columns.append(shown(board, 1.0))
            return go_to(1.0)(board)

        rewards = play(environment, policy)
        assert len(rewards) == STEPS
        assert set(rewards) <= {-100.0, 100.0}
        assert sum(rewards) == 100 * best_return(columns[0])
        seen.add(columns[0])
    assert seen == set(range(5))


def test_an_episode() -> None:
    environment = Follow(seed=0)
    timestep = environment.reset()
    ball = shown(timestep.observation, 1.0)
    for row in range(1, STEPS + 1):
        assert not timestep.last()
        timestep = environment.step(STAY)
        expected = np.zeros((10, 5), np.float32)
        expected[9, 2] = expected[row, ball] = 1
        np.testing.assert_array_equal(timestep.observation, expected)
        assert timestep.reward == (1 if ball == 2 else -1)
    assert timestep.last() and timestep.discount == 0
    assert environment.step(STAY).first()


class DmEnvContractTest(test_utils.EnvironmentTestMixin, absltest.TestCase):
    """dm_env's own interface tests; 20 steps cross the ends of two episodes."""

    def make_object_under_test(self) -> Follow:
        return Follow(seed=0)
