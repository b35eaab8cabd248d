"""What the program needs to know about a family of environments."""

import abc
import contextlib
from collections.abc import Mapping, Sequence

import dm_env
import numpy as np
from dm_env import specs

from environments import conversion
from environments.atari_options import AtariOptions
from environments.batched import BatchedDmEnvironments, WithTask
from environments.rendering import Screen, screen_of
from environments.task import Task, rest_of
from environments.types import BatchedEnvironment
from environments.user_code import reported


class Family(abc.ABC):
    """Environments from one source. A run's tasks are of one family.

    Every program imports the families' modules, so slow imports go inside the methods. Methods get
    valid indices, and only tasks of this family.

    Attributes:
      name: the `domain` of its tasks.
      tasks: the tasks known by name.
      suites: named groups of these tasks.
      has_options: whether `AtariOptions` say how its tasks are played.
    """

    name: str
    tasks: tuple[Task, ...] = ()
    suites: Mapping[str, tuple[str, ...]] = {}
    has_options: bool = False

    def scored(self, task: Task, atari: AtariOptions) -> Task:
        """The task with the scores that apply to these options."""
        del atari
        return task

    def unseen(self, atari: AtariOptions) -> AtariOptions | None:
        """Options for levels that training with these never shows; None if there are none."""
        del atari
        return None

    @abc.abstractmethod
    def check(self, tasks: Sequence[Task], atari: AtariOptions) -> None:
        """Checks that one agent can play these tasks here; raises as in `check_tasks`."""

    @abc.abstractmethod
    def features_spec(self, task: Task) -> specs.Array:
        """Spec of a task's features."""

    @abc.abstractmethod
    def make(
        self, tasks: Sequence[Task], index: int, atari: AtariOptions, seed: int
    ) -> dm_env.Environment:
        """Makes an environment of one task, whose observations are `Observation`s."""

    @abc.abstractmethod
    def make_filmed(
        self, tasks: Sequence[Task], index: int, atari: AtariOptions, seed: int
    ) -> tuple[dm_env.Environment, Screen]:
        """Makes an environment that plays like `make`'s, and its screen."""

    def make_batch(
        self,
        tasks: Sequence[Task],
        task_indices: Sequence[int],
        atari: AtariOptions,
        seed: int,
        num_threads: int | None,
    ) -> BatchedEnvironment:
        """Makes environments that are stepped together, one for each of `task_indices`."""
        del num_threads
        return BatchedDmEnvironments(
            [
                self.make(tasks, index, atari, environment_seed)
                for index, environment_seed in zip(
                    task_indices, environment_seeds(seed, len(task_indices)), strict=True
                )
            ]
        )


class DmFamily(Family):
    """A family whose environments are made one by one, from a task and a seed."""

    @abc.abstractmethod
    def make_alone(self, task: Task, seed: int) -> dm_env.Environment:
        """Makes an environment whose observations are one array, without the task.

        Raises:
          ValueError: in one line, if it cannot be made; `EnvironmentRaised` if its code raises.
        """

    def make_seen(self, task: Task, seed: int) -> tuple[dm_env.Environment, Screen]:
        """Makes the same environment, and its screen."""
        environment = self.make_alone(task, seed)
        with reported(task.name):
            return environment, screen_of(environment)

    def check(self, tasks: Sequence[Task], atari: AtariOptions) -> None:
        """Checks that all tasks have equal observations and actions."""
        del atari
        first = self._specs(tasks[0])
        for task in tasks[1:]:
            if (other := self._specs(task)) != first:
                raise ValueError(
                    "the tasks of a run must have equal observations and actions: "
                    f"{tasks[0].name} has {first[0]} and {first[1]}; "
                    f"{task.name} has {other[0]} and {other[1]}"
                )

    def features_spec(self, task: Task) -> specs.Array:
        """Spec of a task's features, from an environment that is made for it."""
        return self._specs(task)[0]

    def make(
        self, tasks: Sequence[Task], index: int, atari: AtariOptions, seed: int
    ) -> dm_env.Environment:
        """Makes an environment of one task."""
        del atari
        return WithTask(self.make_alone(tasks[index], seed), index, len(tasks))

    def make_filmed(
        self, tasks: Sequence[Task], index: int, atari: AtariOptions, seed: int
    ) -> tuple[dm_env.Environment, Screen]:
        """Makes an environment of one task, and its screen."""
        del atari
        environment, screen = self.make_seen(tasks[index], seed)
        return WithTask(environment, index, len(tasks)), screen

    def _specs(self, task: Task) -> tuple[specs.Array, specs.DiscreteArray]:
        environment = self.make_alone(task, 0)
        with reported(task.name), contextlib.closing(environment):
            features = conversion.features_spec(environment.observation_spec())
            return features, environment.action_spec()


class OnDemandFamily(DmFamily):
    """A family in which any name FAMILY:REST may be a task.

    Attributes:
      spelling: how such names are written, for people: "gym:ID".
    """

    spelling: str

    @abc.abstractmethod
    def load(self, rest: str, seed: int) -> dm_env.Environment:
        """Makes the environment that REST names; raises ValueError, or what its code raises."""

    def make_alone(self, task: Task, seed: int) -> dm_env.Environment:
        """Makes an environment by name."""
        with reported(task.name):
            return self.load(rest_of(task), seed)


def environment_seeds(seed: int, number: int) -> list[int]:
    """Derives the seeds of several environments from one."""
    return np.random.SeedSequence(seed).generate_state(number).tolist()
