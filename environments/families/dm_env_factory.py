"""Anybody's dm_env environments."""

import dm_env

from environments.families.family import DmFamily
from environments.on_demand import as_agents_take_it
from environments.task import Task
from environments.user_code import imported, reported


class DmEnvFactory(DmFamily):
    """dm_env:MODULE:FACTORY, a function that takes a seed, an int by position."""

    name = "dm_env"
    spelling = "dm_env:MODULE:FACTORY"

    def make_alone(self, task: Task, seed: int) -> dm_env.Environment:
        """Calls the factory."""
        with reported(task.name):
            return as_agents_take_it(self._call(task.name.partition(":")[2], seed))

    def _call(self, path: str, seed: int) -> dm_env.Environment:
        module_name, colon, factory_name = path.partition(":")
        if not module_name or not factory_name:
            raise ValueError(f"must be {self.spelling}")
        factory = getattr(imported(module_name), factory_name, None)
        if not callable(factory):
            raise ValueError(f"{module_name} has no function {factory_name}")
        environment = factory(seed)
        if not isinstance(environment, dm_env.Environment):
            raise ValueError(
                f"the factory must return a dm_env.Environment, got {type(environment).__name__}"
            )
        return environment
