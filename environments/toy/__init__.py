"""Toy tasks, learned in minutes on one core; all share one kind of board and 3 actions."""

from environments.toy.catch import Catch
from environments.toy.choice import Choice
from environments.toy.follow import Follow
from environments.toy.games import GAMES, Game
from environments.toy.rescaled import Rescaled
from environments.toy.streak import Streak

__all__ = ["GAMES", "Catch", "Choice", "Follow", "Game", "Rescaled", "Streak"]
