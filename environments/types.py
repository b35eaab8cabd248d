"""Observations, and the one interface for stepping many environments together."""

import abc
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from dm_env import specs


class Observation(NamedTuple):
    """An observation from an environment of a multi-task suite."""

    # The environment's own observation; Atari: uint8 [4, 84, 84], oldest frame first.
    features: np.ndarray
    task: np.ndarray  # int32 [], index of the task in the run's list of tasks


class StackedFrames(specs.BoundedArray):
    """Spec of features that are a stack [S, ...] of the last S frames, newest last.

    Frames from before the episode's first observation are zero. An agent may therefore send each
    frame once and rebuild the stacks on the learner. Equal only to another `StackedFrames`.
    """

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]  # as in every dm_env spec

    stacked = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StackedFrames) and bool(super().__eq__(other))

    def __repr__(self) -> str:
        return f"StackedFrames(shape={self.shape}, dtype={self.dtype!r}, name={self.name!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # The base class would unpickle and copy to a BoundedArray, which says nothing about stacks.
        return StackedFrames, (self.shape, self.dtype, self.minimum, self.maximum, self.name)


class BatchedTimeStep(NamedTuple):
    """Time t+1, after action a_t, of N environments.

    An episode's end and the next one's start are one time step: `reward` and `discount` belong to
    the episode that ended, `observation` is the new episode's first. There is no transition from a
    last to a first observation, so none has to be masked. After a step, `first & (discount > 0)`
    means that the episode was cut off rather than terminated: by a time limit (`truncated`), or by
    a failure (`abandoned`).
    """

    observation: Observation  # features [N, ...], task int32 [N]
    reward: np.ndarray  # float32 [N], r_{t+1}, unclipped; 0 after reset()
    discount: np.ndarray  # float32 [N], 0 where the episode terminated, else 1; 1 after reset()
    first: np.ndarray  # bool [N], the observation starts an episode
    # bool [N], a whole game ended with this step. Differs from `first` after a step only where the
    # loss of a life ends a learning episode but not the game.
    episode_end: np.ndarray
    # features [N, ...]; the episode's last observation where `truncated`, anything elsewhere. None
    # if it is not known: truncated steps are then not learned from.
    final_features: Any = None

    @property
    def truncated(self) -> np.ndarray:
        """bool [N], a time limit ended a whole game with this step."""
        return self.first & (self.discount > 0) & self.episode_end

    @property
    def abandoned(self) -> np.ndarray:
        """bool [N], a game starts although the last one did not end: it has no return to report.

        True after reset(), and after a step in which a `GuardedEnvironment` caught a failure.
        """
        return self.first & (self.discount > 0) & ~self.episode_end


class BatchedEnvironment(abc.ABC):
    """N environments, of any tasks, that are stepped together.

    Arrays that `reset` and `step` return belong to the caller: a later step does not overwrite
    them.
    """

    # Indices of the environments, all of one task, that `reset` or `step` is working on, or was
    # when it raised; empty where that is not known.
    stepping: Sequence[int] = ()

    @property
    @abc.abstractmethod
    def tasks(self) -> np.ndarray:
        """The task of every environment, int32 [N]."""

    @property
    def num_environments(self) -> int:
        """N, the number of environments."""
        return len(self.tasks)

    @abc.abstractmethod
    def observation_spec(self) -> Observation:
        """Specs of ONE environment's observation: features and task (a `DiscreteArray`, int32)."""

    @abc.abstractmethod
    def action_spec(self) -> specs.DiscreteArray:
        """Spec of ONE environment's action, int32."""

    @abc.abstractmethod
    def reset(self) -> BatchedTimeStep:
        """Starts a new episode in every environment."""

    @abc.abstractmethod
    def step(self, actions: np.ndarray) -> BatchedTimeStep:
        """Takes one agent step in every environment.

        Args:
          actions: integers [N].

        Raises:
          ValueError: if `actions` has another shape or type, or an action is out of range.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Frees the environments' resources. They cannot be used afterwards."""


def first_time_step(observation: Observation, final_features: Any = None) -> BatchedTimeStep:
    """What `reset` returns: every environment starts an episode, and none has ended.

    Args:
      observation: features [N, ...], task int32 [N].
      final_features: as `BatchedTimeStep`'s.
    """
    n = len(observation.task)
    return BatchedTimeStep(
        observation=observation,
        reward=np.zeros(n, np.float32),
        discount=np.ones(n, np.float32),
        first=np.ones(n, np.bool_),
        episode_end=np.zeros(n, np.bool_),
        final_features=final_features,
    )


def task_spec(num_tasks: int) -> specs.DiscreteArray:
    """Spec of `Observation.task` for a run of `num_tasks` tasks."""
    return specs.DiscreteArray(num_tasks, dtype=np.int32, name="task")


def checked_actions(actions: np.ndarray, num_environments: int, num_actions: int) -> np.ndarray:
    """Returns the actions as int32 [N].

    Raises:
      ValueError: if they are not N integers in [0, num_actions).
    """
    actions = np.asarray(actions)
    if actions.shape != (num_environments,) or not np.issubdtype(actions.dtype, np.integer):
        raise ValueError(
            f"actions must be integers of shape ({num_environments},), "
            f"got {actions.dtype} of shape {actions.shape}"
        )
    if actions.min() < 0 or actions.max() >= num_actions:
        raise ValueError(f"actions must be in [0, {num_actions}), got {actions.tolist()}")
    return actions.astype(np.int32)
