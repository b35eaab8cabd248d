"""Makes any dm_env environments tasks of a suite, and steps them as a batch."""

from collections.abc import Sequence
from typing import Any

import dm_env
import numpy as np
from dm_env import specs

from environments.conversion import converted_features, features_spec, number
from environments.types import (
    BatchedEnvironment,
    BatchedTimeStep,
    Observation,
    checked_actions,
    first_time_step,
    task_spec,
)


class WithTask(dm_env.Environment):
    """Makes any dm_env environment one task of a suite: observations become `Observation`s.

    Its output has the form that the agent takes (`environments.conversion`): features are new
    arrays, with 32 bits where the environment's have 64; rewards and discounts are floats.
    """

    def __init__(self, environment: dm_env.Environment, task: int, num_tasks: int):
        """Wraps an environment.

        Args:
          environment: the environment to wrap; each of its observations is one array.
          task: the environment's index in the run's list of tasks.
          num_tasks: length of that list.

        Raises:
          ValueError: if `task` is not in [0, num_tasks), or as in `features_spec`.
          TypeError: if the environment's observation is not one array.
        """
        if not 0 <= task < num_tasks:
            raise ValueError(f"task is {task}; it must be in [0, {num_tasks})")
        if not isinstance(environment.observation_spec(), specs.Array):
            raise TypeError(
                "an observation must be one array; the environment's spec is "
                f"{environment.observation_spec()}"
            )
        self._environment = environment
        self._own_spec = environment.observation_spec()
        self._features_spec = features_spec(self._own_spec)
        self._task = np.array(task, np.int32)
        self._task.setflags(write=False)  # every observation shares it
        self._num_tasks = num_tasks

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode.

        Raises:
          ValueError: as in `environments.conversion`.
        """
        return self._converted(self._environment.reset())

    def step(self, action: Any) -> dm_env.TimeStep:
        """Takes one step.

        Raises:
          ValueError: as in `environments.conversion`.
        """
        return self._converted(self._environment.step(action))

    def observation_spec(self) -> Observation:
        """Specs of the features and of the task."""
        return Observation(self._features_spec, task_spec(self._num_tasks))

    def action_spec(self) -> Any:
        """The environment's own."""
        return self._environment.action_spec()

    def close(self) -> None:
        """Closes the environment."""
        self._environment.close()

    def _converted(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        timestep = timestep._replace(
            observation=Observation(
                converted_features(timestep.observation, self._own_spec), self._task
            )
        )
        if timestep.first():
            return timestep  # its reward and discount are None
        return timestep._replace(
            reward=number("reward", timestep.reward), discount=number("discount", timestep.discount)
        )


class BatchedDmEnvironments(BatchedEnvironment):
    """Steps N dm_env environments as a batch, one after another.

    An environment whose episode ends is reset in the same step: the reward and discount of the last
    transition come with the new episode's first observation. The last observation of a terminated
    episode is dropped; that of a truncated one is kept in `final_features`.
    """

    def __init__(self, environments: Sequence[dm_env.Environment]):
        """Takes ownership of the environments and starts an episode in each.

        Args:
          environments: at least one. Observations are `Observation`s (see `WithTask`), each
            environment has one task, and all specs are the same.

        Raises:
          ValueError: if there is no environment, or if specs differ.
          TypeError: if observations are not `Observation`s or actions are not discrete.
          RuntimeError: if an environment fails to start an episode.
        """
        if not environments:
            raise ValueError("a batch needs at least one environment")
        self._environments = list(environments)
        self._observation_spec = environments[0].observation_spec()
        self._action_spec = environments[0].action_spec()
        if not isinstance(self._observation_spec, Observation):
            raise TypeError(
                "observations must be environments.Observation (wrap the environment in WithTask), "
                f"the spec is {self._observation_spec}"
            )
        if not isinstance(self._action_spec, specs.DiscreteArray):
            raise TypeError(f"actions must be discrete, the spec is {self._action_spec}")
        for index, environment in enumerate(environments):
            _require_equal_specs(index, "features", environment, environments[0])
            _require_equal_specs(index, "task", environment, environments[0])
            _require_equal_specs(index, "action", environment, environments[0])
        # Only observations name an environment's task, so the first episodes start here.
        try:
            self._initial: BatchedTimeStep | None = self._start_episodes()
        except Exception as error:
            # There is no batch yet to ask which environment it was.
            raise RuntimeError(
                f"environment {self.stepping[0]} failed in its first reset: "
                f"{type(error).__name__}: {error}"
            ) from error
        self._tasks = self._initial.observation.task.copy()

    @property
    def tasks(self) -> np.ndarray:
        """The task of every environment, int32 [N]."""
        return self._tasks

    def observation_spec(self) -> Observation:
        """Specs of one environment's features and task."""
        return self._observation_spec

    def action_spec(self) -> specs.DiscreteArray:
        """Spec of one environment's action, int32."""
        return specs.DiscreteArray(self._action_spec.num_values, np.int32, self._action_spec.name)

    def reset(self) -> BatchedTimeStep:
        """Starts a new episode in every environment."""
        initial, self._initial = self._initial, None
        return initial if initial is not None else self._start_episodes()

    def step(self, actions: np.ndarray) -> BatchedTimeStep:
        """Steps every environment, and resets those whose episode ends.

        Raises:
          ValueError: as in `BatchedEnvironment.step`, and if features do not match their spec.
        """
        num_actions = self._action_spec.num_values
        actions = checked_actions(actions, self.num_environments, num_actions)
        self._initial = None
        observation = self._new_observation()
        reward = np.zeros(self.num_environments, np.float32)
        discount = np.ones(self.num_environments, np.float32)
        last = np.zeros(self.num_environments, np.bool_)
        final_features = self._new_observation().features
        dtype = self._action_spec.dtype.type
        for i, environment in enumerate(self._environments):
            self.stepping = (i,)
            timestep = environment.step(dtype(actions[i]))
            reward[i] = number("reward", timestep.reward)
            discount[i] = number("discount", timestep.discount)
            last[i] = timestep.last()
            if last[i]:
                if discount[i] > 0:
                    final_features[i] = self._checked(timestep.observation.features)
                timestep = environment.reset()
            # Copied at once, since another environment may return the same array.
            observation.features[i] = self._checked(timestep.observation.features)
            observation.task[i] = timestep.observation.task
        self.stepping = ()
        return BatchedTimeStep(observation, reward, discount, last, last.copy(), final_features)

    def close(self) -> None:
        """Closes the environments."""
        for environment in self._environments:
            environment.close()

    def _start_episodes(self) -> BatchedTimeStep:
        observation = self._new_observation()
        for i, environment in enumerate(self._environments):
            self.stepping = (i,)
            shown = environment.reset().observation
            observation.features[i] = self._checked(shown.features)
            observation.task[i] = shown.task
        self.stepping = ()
        return first_time_step(observation, self._new_observation().features)

    def _new_observation(self) -> Observation:
        """Zeros for N environments: features [N, ...], task [N]."""
        n, spec = len(self._environments), self._observation_spec.features
        return Observation(np.zeros((n, *spec.shape), spec.dtype), np.zeros(n, np.int32))

    def _checked(self, features: Any) -> np.ndarray:
        """Returns the features; raises ValueError if they do not match the spec."""
        features, spec = np.asarray(features), self._observation_spec.features
        if features.shape != spec.shape or features.dtype != spec.dtype:
            raise ValueError(
                f"features are {features.dtype} {features.shape}, "
                f"their spec says {spec.dtype} {spec.shape}"
            )
        return features


def _spec(environment: dm_env.Environment, name: str) -> specs.Array:
    if name == "action":
        return environment.action_spec()
    return getattr(environment.observation_spec(), name)


def _require_equal_specs(
    index: int, name: str, environment: dm_env.Environment, model: dm_env.Environment
) -> None:
    spec, expected = _spec(environment, name), _spec(model, name)
    if spec != expected:
        raise ValueError(
            f"all environments of a batch must have equal specs: environment {index} has "
            f"the {name} spec {spec}, environment 0 has {expected}"
        )
