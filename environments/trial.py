"""A short game before a run, to see how large an environment's observations get."""

import contextlib
import time

import numpy as np

from environments.families import FAMILIES, OnDemandFamily
from environments.task import Task
from environments.user_code import reported

_STEPS = 200
_SECONDS = 1.0  # after which no further step is taken


def largest_feature(task: Task) -> float:
    """Briefly plays a task at random; returns the largest absolute value of its features.

    Args:
      task: a task made on demand; 0 is returned for others, and for images, which networks scale.

    Raises:
      ValueError: the task's code raises.
    """
    family = FAMILIES[task.domain]
    if not isinstance(family, OnDemandFamily):
        return 0.0
    random = np.random.default_rng(0)
    environment = family.make_alone(task, 0)
    with reported(task.name), contextlib.closing(environment):
        spec, actions = environment.observation_spec(), environment.action_spec()
        if spec.dtype == np.uint8 and len(spec.shape) == 3:
            return 0.0
        end = time.monotonic() + _SECONDS
        timestep = environment.reset()
        largest = _largest(timestep.observation)
        for _ in range(_STEPS):
            if time.monotonic() > end:
                break
            timestep = environment.step(actions.dtype.type(random.integers(actions.num_values)))
            largest = max(largest, _largest(timestep.observation))
        return largest


def _largest(features: np.ndarray) -> float:
    """The largest finite absolute value of an array of numbers; 0 of an empty one."""
    values = np.abs(np.asarray(features, np.float64))
    return float(np.max(values, initial=0.0, where=np.isfinite(values)))
