"""Procgen's games and their observations, importable without the library.

Procgen (Cobbe et al. 2019, arXiv 1912.01588) has sixteen games with levels generated from seeds.
"""

import dataclasses

import numpy as np
from dm_env import specs

# Every game's observation: red, green and blue, rows, columns.
FEATURES = specs.BoundedArray((3, 64, 64), np.uint8, 0, 255, "screen")

# By action, the same for every game: keys held down, as in the library's `get_combos`. What a
# letter does depends on the game.
ACTION_NAMES = (
    *("left+down", "left", "left+up", "down", "noop", "up", "right+down", "right", "right+up"),
    *("d", "a", "w", "s", "q", "e"),
)

DISTRIBUTION_MODES = ("easy", "hard")

# Level numbers are below this.
LEVELS = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Game:
    """One game: the returns used to normalise its scores, and its time limit."""

    easy: tuple[float, float]  # R_min, R_max
    hard: tuple[float, float]
    time_limit: int = 1_000  # steps, after which the library ends an episode


# R_min and R_max: arXiv 1912.01588, appendix C. R_min is the return of a policy trained without
# seeing anything, not of random play; R_max is the return that can be reached, or that long
# training reached. The time limits are those of library version 0.10.7; tests run into those that
# idling reaches.
GAMES: dict[str, Game] = {
    "bigfish": Game((1.0, 40.0), (0.0, 40.0), 6_000),
    "bossfight": Game((0.5, 13.0), (0.5, 13.0), 4_000),
    "caveflyer": Game((3.5, 12.0), (2.0, 13.4)),
    "chaser": Game((0.5, 13.0), (0.5, 14.2)),
    "climber": Game((2.0, 12.6), (1.0, 12.6)),
    "coinrun": Game((5.0, 10.0), (5.0, 10.0)),
    "dodgeball": Game((1.5, 19.0), (1.5, 19.0)),
    "fruitbot": Game((-1.5, 32.4), (-0.5, 27.2)),
    "heist": Game((3.5, 10.0), (2.0, 10.0)),
    "jumper": Game((3.0, 10.0), (1.0, 10.0)),
    "leaper": Game((3.0, 10.0), (1.5, 10.0), 500),
    "maze": Game((5.0, 10.0), (4.0, 10.0), 500),
    "miner": Game((1.5, 13.0), (1.5, 20.0)),
    "ninja": Game((3.5, 10.0), (2.0, 10.0)),
    "plunder": Game((4.5, 30.0), (3.0, 30.0), 4_000),
    "starpilot": Game((2.5, 64.0), (1.5, 35.0)),
}

SUITE16 = tuple(f"procgen:{game}" for game in GAMES)
SUITE4 = ("procgen:bigfish", "procgen:coinrun", "procgen:fruitbot", "procgen:starpilot")
