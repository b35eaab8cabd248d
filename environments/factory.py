"""Tasks -> environments."""

from collections.abc import Sequence

import dm_env
from dm_env import specs

from environments.atari_options import AtariOptions
from environments.families import FAMILIES, Family
from environments.rendering import Screen
from environments.task import Task
from environments.types import BatchedEnvironment


def check_tasks(tasks: Sequence[Task], *, atari: AtariOptions) -> None:
    """Checks that one agent can play these tasks here.

    Takes no more than a second, but for tasks made on demand, which may take any time to make.

    Args:
      tasks: the run's tasks.
      atari: how Atari games are played.

    Raises:
      ValueError: if there is no task, if the tasks' domains differ, if the games have different
        minimal action sets and those are asked for, if a task cannot be made, if tasks differ in
        features or actions, or if MinAtar's library is not installed.
      FileNotFoundError: if a game's ROM is not installed.
    """
    _family(tasks).check(tasks, atari)


def features_spec(tasks: Sequence[Task]) -> specs.Array:
    """Spec of the features that the tasks show, by the first of them.

    Raises:
      ValueError: if there is no task, if the tasks' domains differ, or if the task cannot be made.
    """
    return _family(tasks).features_spec(tasks[0])


def make_environment(
    tasks: Sequence[Task], index: int, *, atari: AtariOptions, seed: int
) -> dm_env.Environment:
    """Makes one environment, for example for Acme's `EnvironmentLoop`.

    Args:
      tasks: the run's tasks.
      index: which of them to play.
      atari: how Atari games are played; no other domain reads it.
      seed: of all that is random in the environment.

    Returns:
      An environment whose observations are `Observation`s.

    Raises:
      ValueError: if `index` is not that of a task, as `check_tasks` of the tasks' domains and of
        games, or if it cannot be made.
      FileNotFoundError: as `check_tasks`.
    """
    _check_indices(tasks, [index])
    return _family(tasks).make(tasks, index, atari, seed)


def make_filmed_environment(
    tasks: Sequence[Task], index: int, *, atari: AtariOptions, seed: int
) -> tuple[dm_env.Environment, Screen]:
    """Makes one environment that plays as `make_environment`'s does, and can be seen.

    Args:
      tasks: the run's tasks.
      index: which of them to play.
      atari: how Atari games are played, without `life_loss`; no other domain reads it.
      seed: of all that is random in the environment.

    Returns:
      The environment, whose observations are `Observation`s, and its screen.

    Raises:
      ValueError, FileNotFoundError: as `make_environment`; and `life_loss` of an Atari game.
    """
    _check_indices(tasks, [index])
    return _family(tasks).make_filmed(tasks, index, atari, seed)


def make_batched_environment(
    tasks: Sequence[Task],
    task_indices: Sequence[int],
    *,
    atari: AtariOptions,
    seed: int,
    num_threads: int | None = None,
) -> BatchedEnvironment:
    """Makes N environments that are stepped together.

    Args:
      tasks: the run's tasks.
      task_indices: [N], the task of each environment, in any order and with any repetitions.
      atari: how Atari games are played; no other domain reads it.
      seed: the environments' own seeds are derived from it.
      num_threads: threads that emulate Atari games; by default one per environment, but not more
        than there are cores for this process. No other domain reads it.

    Returns:
      The environments, in the order of `task_indices`.

    Raises:
      ValueError: if an index is not that of a task, if there is none, if environments differ in
        their specs, and as `make_environment`.
      FileNotFoundError: as `check_tasks`.
    """
    _check_indices(tasks, task_indices)
    return _family(tasks).make_batch(tasks, task_indices, atari, seed, num_threads)


def scored_tasks(tasks: Sequence[Task], *, atari: AtariOptions) -> tuple[Task, ...]:
    """The tasks with the scores that hold for how they are played."""
    return tuple(FAMILIES[task.domain].scored(task, atari) for task in tasks)


def unseen_options(tasks: Sequence[Task], *, atari: AtariOptions) -> AtariOptions | None:
    """Options of levels that training with these does not show; None if there are none.

    Raises:
      ValueError: if there is no task, or if the tasks' domains differ.
    """
    return _family(tasks).unseen(atari)


def _family(tasks: Sequence[Task]) -> Family:
    """The tasks' family; raises ValueError if they have not one."""
    domains = sorted({task.domain for task in tasks})
    if len(domains) != 1:
        raise ValueError(f"the tasks of a run must be of one domain, got {domains or 'no task'}")
    return FAMILIES[domains[0]]


def _check_indices(tasks: Sequence[Task], task_indices: Sequence[int]) -> None:
    if not task_indices:
        raise ValueError("task_indices is empty; a batch needs at least one environment")
    for index in task_indices:
        if not 0 <= index < len(tasks):
            raise ValueError(f"task index is {index}; it must be in [0, {len(tasks)})")
