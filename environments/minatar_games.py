"""MinAtar's tasks and their observations, importable without the library.

MinAtar (Young and Tian 2019, arXiv 1903.03176) has small versions of five Atari games. Each is
played on a 10 x 10 board with one plane per kind of object.
"""

import dataclasses

import numpy as np
from dm_env import specs

# Every game's observation: rows, columns, planes; true where there is an object of that kind. Games
# have 4 to 10 planes; the rest stay empty, so that one network can play any of them.
FEATURES = specs.BoundedArray((10, 10, 10), np.bool_, False, True, "board")

# By action; the same six for every game.
ACTION_NAMES = ("noop", "left", "up", "right", "down", "fire")

# Agent steps after which an episode is truncated. The library has no limit (Freeway ends by itself
# after 2,500 steps), and its authors name none, since good play never ends; but in Seaquest a
# policy that stays at the surface would never end an episode
# (https://github.com/kenjyoung/MinAtar/issues/19).
MAX_STEPS = 5_000


@dataclasses.dataclass(frozen=True)
class Game:
    """One task."""

    module: str  # the library's name for the game
    factor: float  # on its rewards
    random_score: float  # a uniform random policy's mean episode return, with the factor


# Measured with `environments.minatar`: means over 10,000 episodes (Freeway: 2,000), with standard
# errors. No human scores have been published.
_RANDOM_SCORES = {
    "breakout": 0.500,  # +- 0.007
    "asterix": 0.507,  # +- 0.009
    "space_invaders": 2.896,  # +- 0.023
    "seaquest": 0.101,  # +- 0.004
    "freeway": 0.147,  # +- 0.008
}

_FACTORS = (1, 10, 100, 1_000, 10_000)


def _task_name(game: str, factor: int) -> str:
    return f"minatar:{game}" if factor == 1 else f"minatar:{game}_x{factor}"


# By task name: "minatar:breakout"; "minatar:breakout_x100" has rewards of 100.
GAMES: dict[str, Game] = {
    _task_name(game, factor): Game(game, float(factor), score * factor)
    for factor in _FACTORS
    for game, score in _RANDOM_SCORES.items()
}

# All games as they are, and each with a factor of its own.
SUITE = tuple(_task_name(game, 1) for game in _RANDOM_SCORES)
SCALES_SUITE = tuple(map(_task_name, _RANDOM_SCORES, _FACTORS))
