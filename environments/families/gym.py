"""Environments registered with Gymnasium."""

import dm_env

from environments.families.family import OnDemandFamily
from environments.rendering import Screen
from environments.task import Task, rest_of
from environments.user_code import reported


class Gym(OnDemandFamily):
    """gym:ID, or gym:MODULE:ID where importing MODULE registers it."""

    name = "gym"
    spelling = "gym:ID"

    def load(self, rest: str, seed: int) -> dm_env.Environment:
        """Makes an environment that is already registered, or that importing MODULE registers."""
        from environments.gymnasium_env import make_gymnasium

        return make_gymnasium(rest, seed)

    def make_seen(self, task: Task, seed: int) -> tuple[dm_env.Environment, Screen]:
        """Makes an environment, and its screen."""
        from environments.gymnasium_env import make_filmed_gymnasium

        with reported(task.name):
            return make_filmed_gymnasium(rest_of(task), seed)
