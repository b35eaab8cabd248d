"""Catch."""

import itertools
from fractions import Fraction

import dm_env
import numpy as np
import pytest
from absl.testing import absltest
from dm_env import test_utils

from environments import SUITES, TASKS, AtariOptions, Catch, make_environment, parse_level_name
from environments.toy.board import LEFT, RIGHT, STAY


def ball_and_paddle(board: np.ndarray) -> tuple[int, int]:
    """Returns the columns of the ball, which is above the last row, and of the paddle."""
    return int(board[:-1].sum(axis=0).argmax()), int(board[-1].argmax())


def play_perfectly(environment: dm_env.Environment) -> float:
    timestep = environment.reset()
    total = 0.0
    while not timestep.last():
        ball, paddle = ball_and_paddle(timestep.observation)
        timestep = environment.step(LEFT if ball < paddle else RIGHT if ball > paddle else STAY)
        total += timestep.reward
    return total


def test_an_episode() -> None:
    environment = Catch(seed=0)
    timestep = environment.reset()
    start, paddle = ball_and_paddle(timestep.observation)
    assert paddle == 2
    for t, (action, column) in enumerate(
        [(LEFT, 1), (LEFT, 0), (LEFT, 0), (STAY, 0), (RIGHT, 1)], start=1
    ):
        timestep = environment.step(action)
        expected = np.zeros((10, 5), np.float32)
        expected[t, start] = 1
        expected[9, column] = 1
        np.testing.assert_array_equal(timestep.observation, expected)
        assert timestep.mid() and (timestep.reward, timestep.discount) == (0, 1)
    for _ in range(3):
        assert environment.step(STAY).mid()
    timestep = environment.step(STAY)  # the 9th step
    assert timestep.last() and timestep.discount == 0
    assert timestep.reward == (1 if start == 1 else -1)
    assert timestep.observation[9, start] == 1
    assert environment.step(STAY).first()


@pytest.mark.parametrize("name", SUITES["toy"])
def test_human_score_is_the_optimum(name: str) -> None:
    scale = TASKS[name].human_score
    assert scale is not None
    environment = Catch(scale=scale, seed=1)
    returns = [play_perfectly(environment) for _ in range(50)]
    assert returns == [scale] * 50  # the largest possible reward, from every column


def test_all_columns_come() -> None:
    environment = Catch(seed=2)
    columns = [ball_and_paddle(environment.reset().observation)[0] for _ in range(500)]
    counts = np.bincount(columns, minlength=5)
    # Binomial, 100 expected, standard deviation 9.
    assert (abs(counts - 100) < 4 * 9).all()


def test_seeds() -> None:
    def columns(seed: int) -> list[int]:
        environment = Catch(seed=seed)
        return [ball_and_paddle(environment.reset().observation)[0] for _ in range(30)]

    assert columns(3) == columns(3)
    assert columns(3) != columns(4)


@pytest.mark.parametrize("name", SUITES["toy"])
def test_random_score_is_exact(name: str) -> None:
    """Dynamic programming over the paddle's column, in exact fractions."""
    task = TASKS[name]
    assert task.human_score is not None
    paddle = {2: Fraction(1)}
    for _ in range(9):
        after: dict[int, Fraction] = {}
        for (column, probability), move in itertools.product(paddle.items(), (-1, 0, 1)):
            moved = min(max(column + move, 0), 4)
            after[moved] = after.get(moved, Fraction(0)) + probability / 3
        paddle = after
    assert len(set(paddle.values())) > 1  # the paddle's column is not uniform, the ball's is
    catch = sum((Fraction(1, 5) * paddle[ball] for ball in range(5)), Fraction(0))
    assert task.random_score == pytest.approx(float(2 * catch - 1) * task.human_score, rel=1e-15)


@pytest.mark.parametrize("name", SUITES["toy"])
def test_random_score_is_what_random_play_earns(name: str) -> None:
    tasks = parse_level_name("toy")
    index = SUITES["toy"].index(name)
    environment = make_environment(tasks, index, atari=AtariOptions(), seed=5)
    random = np.random.default_rng(6)
    returns = []
    for _ in range(1000):
        timestep = environment.reset()
        while not timestep.last():
            timestep = environment.step(random.integers(3))
        returns.append(timestep.reward)
    standard_error = np.std(returns) / np.sqrt(len(returns))
    assert abs(np.mean(returns) - tasks[index].random_score) < 4 * standard_error


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"scale": 0.0}, "scale is 0.0"),
        ({"scale": -1.0}, "scale is -1.0"),
        ({"rows": 1}, "too low"),
        ({"rows": 3, "columns": 7}, "too low"),
        ({"columns": 0}, "too low"),
    ],
)
def test_bad_games_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Catch(**arguments)  # type: ignore[arg-type]


def test_the_lowest_board_can_be_won() -> None:
    environment = Catch(rows=4, columns=7, seed=0)
    assert [play_perfectly(environment) for _ in range(30)] == [1.0] * 30


class DmEnvContractTest(test_utils.EnvironmentTestMixin, absltest.TestCase):
    """dm_env's own interface tests; 20 steps cross the ends of two episodes."""

    def make_object_under_test(self) -> Catch:
        return Catch(scale=100.0, seed=0)
