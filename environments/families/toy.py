"""The toy tasks."""

import dm_env

from environments.families.family import DmFamily
from environments.task import Task
from environments.toy import GAMES


class Toy(DmFamily):
    """Games with a known optimum that are learned in minutes on one core."""

    name = "toy"
    tasks = tuple(
        Task(name, "toy", game.random_score, game.optimum, 1, "optimum")
        for name, game in GAMES.items()
    )
    suites = {
        "toy": ("catch_x1", "catch_x100", "catch_x10000"),
        "toy_scales": ("choice_x1", "choice_x100", "choice_x10000"),
        "toy_density": ("follow_x1", "follow_x100", "streak_x1", "streak_x100"),
        "toy_conflict": tuple(
            f"catch_{order}" for order in ("lsr", "lrs", "slr", "srl", "rls", "rsl")
        ),
    }

    def make_alone(self, task: Task, seed: int) -> dm_env.Environment:
        """Makes a game."""
        return GAMES[task.name].make(seed)
