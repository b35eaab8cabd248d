"""The toy tasks by name, with the scores that their classes derive."""

import dataclasses
from collections.abc import Callable
from typing import Any

import dm_env

from environments.toy.board import LEFT, RIGHT, STAY
from environments.toy.catch import Catch
from environments.toy.choice import Choice
from environments.toy.follow import Follow
from environments.toy.rescaled import Rescaled
from environments.toy.streak import Streak


@dataclasses.dataclass(frozen=True)
class Game:
    """A toy task."""

    make: Callable[[int], dm_env.Environment]  # from a seed
    random_score: float  # a uniform random policy's expected return, exact
    optimum: float  # the best policy's expected return, exact
    # Both scores are multiplied by it from an environment's episode `changes_at` on.
    factor: float = 1.0
    changes_at: int = 0

    def factor_at(self, episode: int) -> float:
        """The factor on both scores in an environment's episode, counted from 0."""
        return self.factor if episode >= self.changes_at else 1.0


def _scaled(
    game: Callable[..., dm_env.Environment],
    random_score: float,
    optimum: float,
    scale: float = 1.0,
    **arguments: Any,
) -> Game:
    """A game whose scores for scale 1 are given."""

    def make(seed: int) -> dm_env.Environment:
        return game(scale=scale, seed=seed, **arguments)

    return Game(make, random_score * scale, optimum * scale)


def _changing(game: Game, factor: float, episodes: int) -> Game:
    def make(seed: int) -> dm_env.Environment:
        return Rescaled(game.make(seed), factor=factor, episodes=episodes)

    return dataclasses.replace(game, make=make, factor=factor, changes_at=episodes)


_SCALES = (1, 100, 10_000)

# What actions 0, 1 and 2 do in games that look the same: all six orders, so that no action is
# better than another for an agent that does not know the game. With only some of the orders, a
# policy could be good at several games without knowing which one it plays.
_MEANINGS = {
    "lsr": (LEFT, STAY, RIGHT),
    "lrs": (LEFT, RIGHT, STAY),
    "slr": (STAY, LEFT, RIGHT),
    "srl": (STAY, RIGHT, LEFT),
    "rls": (RIGHT, LEFT, STAY),
    "rsl": (RIGHT, STAY, LEFT),
}

GAMES: dict[str, Game] = {
    **{f"catch_x{scale}": _scaled(Catch, -0.6, 1.0, scale) for scale in _SCALES},
    **{f"choice_x{scale}": _scaled(Choice, 2.2, 10.0, scale) for scale in _SCALES},
    "choice_changing": _changing(_scaled(Choice, 2.2, 10.0), factor=1000.0, episodes=1000),
    **{f"follow_x{scale}": _scaled(Follow, -5.4, 8.2, scale) for scale in (1, 100)},
    **{f"streak_x{scale}": _scaled(Streak, 0.008, 1.0, scale) for scale in (1, 100)},
    **{
        f"catch_{name}": _scaled(Catch, -0.6, 1.0, meanings=meanings)
        for name, meanings in _MEANINGS.items()
    },
}
