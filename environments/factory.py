"""Makes environments from tasks."""

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

    Takes at most a second, except for tasks made on demand, which may take any time to make.

    Args:
      tasks: the run's tasks.
      atari: how Atari games are played.

    Raises:
      ValueError: if there is no task, if the tasks' domains differ, if minimal action sets are
        requested and differ between games, if a task cannot be made, if tasks differ in features or
        actions, or if a domain's library is not installed.
      FileNotFoundError: if a game's ROM is not installed.
    """
    _family(tasks).check(tasks, atari)


def features_spec(tasks: Sequence[Task]) -> specs.Array:
    """Spec of the tasks' features, taken from the first task.

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
      atari: how Atari games are played, and which Procgen levels; no other domain reads it.
      seed: seeds all randomness in the environment.

    Returns:
      An environment whose observations are `Observation`s.

    Raises:
      ValueError: if `index` is not a task's, as in `check_tasks` for the tasks' domains and for
        games, or if the environment cannot be made.
      FileNotFoundError: as in `check_tasks`.
    """
    _check_indices(tasks, [index])
    return _family(tasks).make(tasks, index, atari, seed)


def make_filmed_environment(
    tasks: Sequence[Task], index: int, *, atari: AtariOptions, seed: int
) -> tuple[dm_env.Environment, Screen]:
    """Makes one environment that plays like `make_environment`'s, and its screen.

    Args:
      tasks: the run's tasks.
      index: which of them to play.
      atari: how Atari games are played, without `life_loss`, and which Procgen levels; no other
        domain reads it.
      seed: seeds all randomness in the environment.

    Returns:
      The environment, whose observations are `Observation`s, and its screen.

    Raises:
      ValueError, FileNotFoundError: as in `make_environment`; ValueError also for an Atari game
        with `life_loss`.
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
      atari: how Atari games are played, and which Procgen levels; no other domain reads it.
      seed: each environment's own seed is derived from it.
      num_threads: threads that emulate Atari games, by default one per environment, up to the
        number of cores available to this process; or threads that step each Procgen game, by
        default the caller's. No other domain reads it.

    Returns:
      The environments, in the order of `task_indices`.

    Raises:
      ValueError: if an index is not a task's, if there is no index, if environments differ in their
        specs, and as in `make_environment`.
      FileNotFoundError: as in `check_tasks`.
    """
    _check_indices(tasks, task_indices)
    return _family(tasks).make_batch(tasks, task_indices, atari, seed, num_threads)


def scored_tasks(tasks: Sequence[Task], *, atari: AtariOptions) -> tuple[Task, ...]:
    """The tasks with the scores that apply to these options."""
    return tuple(FAMILIES[task.domain].scored(task, atari) for task in tasks)


def unseen_options(tasks: Sequence[Task], *, atari: AtariOptions) -> AtariOptions | None:
    """Options for levels that training with these never shows; None if there are none.

    Raises:
      ValueError: if there is no task, or if the tasks' domains differ.
    """
    return _family(tasks).unseen(atari)


def _family(tasks: Sequence[Task]) -> Family:
    """The tasks' family; raises ValueError unless they share one."""
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
