"""The experiments of bsuite."""

import difflib
import inspect

import dm_env

from environments.families.family import OnDemandFamily
from environments.on_demand import as_agents_take_it


class Bsuite(OnDemandFamily):
    """bsuite:EXPERIMENT/NUMBER."""

    name = "bsuite"
    spelling = "bsuite:EXPERIMENT/NUMBER"

    def load(self, rest: str, seed: int) -> dm_env.Environment:
        """Makes an experiment; keeps its own mapping seed, which defines the task."""
        return as_agents_take_it(_load(rest, seed))


def _load(name: str, seed: int) -> dm_env.Environment:
    try:
        import bsuite
        from bsuite import sweep
        from bsuite.bsuite import EXPERIMENT_NAME_TO_ENVIRONMENT
    except ImportError as error:
        raise ValueError(
            f"needs the package {error.name or 'bsuite'}: install the extra [bsuite]"
        ) from error
    if name not in sweep.SETTINGS:
        near = difflib.get_close_matches(name, sweep.SETTINGS)
        hint = f"did you mean {' or '.join(near)}" if near else "they are as catch/0"
        raise ValueError(f"bsuite has no such experiment; {hint}")
    experiment = name.partition("/")[0]
    settings = dict(sweep.SETTINGS[name])
    # Experiments without `seed` all have `mapping_seed`, which defines the task and stays as it is.
    if "seed" in inspect.signature(EXPERIMENT_NAME_TO_ENVIRONMENT[experiment]).parameters:
        settings["seed"] = seed
    return bsuite.load(experiment, settings)
