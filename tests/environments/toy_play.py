"""Plays toy tasks, and works out without them where a random policy's paddle is."""

from collections.abc import Callable
from fractions import Fraction

import dm_env
import numpy as np

from environments.toy.board import LEFT, RIGHT, STAY

STEPS = 9  # from the first row to the last
MOVES = (-1, 0, 1)


def towards(paddle: int, column: int) -> int:
    """The move that brings the paddle nearer to a column."""
    return LEFT if column < paddle else RIGHT if column > paddle else STAY


def shown(board: np.ndarray, value: float) -> int:
    """The column above the last row where this value is shown."""
    ((_, column),) = np.argwhere(board[:-1] == value)
    return int(column)


def play(environment: dm_env.Environment, policy: Callable[[np.ndarray], int]) -> list[float]:
    """The rewards of one episode, starting with a reset."""
    timestep = environment.reset()
    rewards = []
    while not timestep.last():
        timestep = environment.step(policy(timestep.observation))
        rewards.append(float(timestep.reward))
    return rewards


def go_to(value: float) -> Callable[[np.ndarray], int]:
    """A policy that goes straight to the column where this value is shown."""
    return lambda board: towards(int(board[-1].argmax()), shown(board, value))


def moved(paddle: int, move: int) -> int:
    """The paddle's column after a move, on a board of 5 columns."""
    return min(max(paddle + move, 0), 4)


def random_paddles() -> list[dict[int, Fraction]]:
    """Where a uniform random policy's paddle is after 1 to 9 steps: column -> probability."""
    now = {2: Fraction(1)}
    after_steps = []
    for _ in range(STEPS):
        then: dict[int, Fraction] = {}
        for column, probability in now.items():
            for move in MOVES:
                to = moved(column, move)
                then[to] = then.get(to, Fraction(0)) + probability / 3
        after_steps.append(then)
        now = then
    return after_steps
