"""Users' own dm_env environments."""

import dm_env

from environments.families.family import OnDemandFamily
from environments.on_demand import as_agents_take_it
from environments.user_code import imported


class DmEnvFactory(OnDemandFamily):
    """dm_env:MODULE:FACTORY, a function that takes a seed, a positional int."""

    name = "dm_env"
    spelling = "dm_env:MODULE:FACTORY"

    def load(self, rest: str, seed: int) -> dm_env.Environment:
        """Calls the factory."""
        module_name, _, factory_name = rest.partition(":")
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
        return as_agents_take_it(environment)
