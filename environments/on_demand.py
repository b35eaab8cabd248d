"""Environments that are made by a name: Gymnasium's, bsuite's, anybody's of dm_env."""

import difflib
import inspect

import dm_env
import numpy as np
from dm_env import specs

from environments.conversion import features_spec
from environments.images import SMALLEST_IMAGE, ImageEnvironment, image_layout
from environments.tasks import ON_DEMAND, Task
from environments.user_code import imported, reported


def make_on_demand(task: Task, seed: int) -> dm_env.Environment:
    """Makes the environment that a task of a domain in `ON_DEMAND` names.

    Args:
      task: its name is
        - "gym:ID" or "gym:MODULE:ID", an environment registered with Gymnasium, at once or when
          MODULE is imported;
        - "bsuite:EXPERIMENT/NUMBER", an experiment of bsuite;
        - "dm_env:MODULE:FACTORY", where FACTORY in MODULE is a function that takes a seed, an int
          by position, and returns a `dm_env.Environment`.
      seed: of all that is random in the environment.

    Returns:
      An environment whose observations are one array each, and whose actions are discrete.

    Raises:
      ValueError: in one line, if there is no such environment, if it needs what is not installed,
        if it has other observations or actions, or if its code raises (`EnvironmentRaised`).
    """
    name = task.name.partition(":")[2]
    with reported(task.name):
        if task.domain == "gym":
            from environments.gymnasium_env import make_gymnasium  # only for those who need it

            return make_gymnasium(name, seed)
        environment = _make_bsuite(name, seed) if task.domain == "bsuite" else _call(name, seed)
        _require_array_and_discrete(environment)
        return _with_images(environment)


def _make_bsuite(name: str, seed: int) -> dm_env.Environment:
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
    # Not where there is none: `mapping_seed`, which all have that lack it, says what the task is.
    if "seed" in inspect.signature(EXPERIMENT_NAME_TO_ENVIRONMENT[experiment]).parameters:
        settings["seed"] = seed
    return bsuite.load(experiment, settings)


def _call(path: str, seed: int) -> dm_env.Environment:
    """Calls the factory that MODULE:FACTORY names."""
    module_name, colon, factory_name = path.partition(":")
    if not module_name or not factory_name:
        raise ValueError(f"must be {ON_DEMAND['dm_env']}")
    factory = getattr(imported(module_name), factory_name, None)
    if not callable(factory):
        raise ValueError(f"{module_name} has no function {factory_name}")
    environment = factory(seed)
    if not isinstance(environment, dm_env.Environment):
        raise ValueError(
            f"the factory must return a dm_env.Environment, got {type(environment).__name__}"
        )
    return environment


def _with_images(environment: dm_env.Environment) -> dm_env.Environment:
    """The environment, with its images as the networks take them, if it shows images.

    uint8 [S, H, W] is that already, for any S.
    """
    spec = environment.observation_spec()
    if spec.dtype == np.uint8 and len(spec.shape) == 3 and min(spec.shape[1:]) >= SMALLEST_IMAGE:
        return environment
    low = high = None
    if isinstance(spec, specs.BoundedArray):
        low, high = float(np.min(spec.minimum)), float(np.max(spec.maximum))
    layout = image_layout(spec.shape, spec.dtype, low, high)
    return environment if layout is None else ImageEnvironment(environment, layout)


def _require_array_and_discrete(environment: dm_env.Environment) -> None:
    observation, action = environment.observation_spec(), environment.action_spec()
    if not isinstance(observation, specs.Array):
        raise ValueError(f"an observation must be one array, the spec is {observation}")
    features_spec(observation)
    if not isinstance(action, specs.DiscreteArray):
        raise ValueError(f"actions must be discrete, the spec is {action}")
    # Which the agent asks for later, when nothing names the task any more.
    environment.reward_spec()
    environment.discount_spec()
