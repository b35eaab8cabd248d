"""Brings dm_env environments written by others into the form that agents take."""

import dm_env
import numpy as np
from dm_env import specs

from environments.conversion import features_spec
from environments.images import SMALLEST_IMAGE, ImageEnvironment, image_layout


def as_agents_take_it(environment: dm_env.Environment) -> dm_env.Environment:
    """Checks an environment, and converts images to the form that networks take.

    Raises:
      ValueError: observations are not one array, or actions not discrete.
    """
    _require_array_and_discrete(environment)
    return _with_images(environment)


def _with_images(environment: dm_env.Environment) -> dm_env.Environment:
    """The environment, with any images converted to the form that networks take.

    uint8 [S, H, W] already has that form, for any S.
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
    # The agent asks for these later, when nothing would name the task any more.
    environment.reward_spec()
    environment.discount_spec()
