"""Tasks -> environments."""

from collections.abc import Sequence

import dm_env
import numpy as np

from environments.atari_options import AtariOptions
from environments.batched import BatchedDmEnvironments, WithTask
from environments.tasks import Task
from environments.toy import GAMES
from environments.types import BatchedEnvironment


def check_tasks(tasks: Sequence[Task], *, atari: AtariOptions) -> None:
    """Checks that one agent can play these tasks here. Takes no more than a second.

    Args:
      tasks: the run's tasks.
      atari: how Atari games are played.

    Raises:
      ValueError: if there is no task, if the tasks' domains differ, or if the games have different
        minimal action sets and those are asked for.
      FileNotFoundError: if a game's ROM is not installed.
    """
    domains = sorted({task.domain for task in tasks})
    if len(domains) != 1:
        raise ValueError(f"the tasks of a run must be of one domain, got {domains or 'no task'}")
    if domains == ["atari"]:
        from environments.atari import check_games  # loads the emulator: only for those who need it

        check_games([task.name for task in tasks], atari)


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
      ValueError: if `index` is not that of a task, and as `check_tasks`.
      FileNotFoundError: as `check_tasks`.
    """
    _check_indices(tasks, [index])
    if tasks[index].domain == "atari":
        from environments.atari import AtariEnvironment

        return AtariEnvironment(tasks, index, options=atari, seed=seed)
    check_tasks(tasks, atari=atari)
    return WithTask(GAMES[tasks[index].name].make(seed), index, len(tasks))


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
      ValueError: if an index is not that of a task, if there is none, and as `check_tasks`.
      FileNotFoundError: as `check_tasks`.
    """
    _check_indices(tasks, task_indices)
    if tasks[0].domain == "atari":
        from environments.atari import AtariBatch

        return AtariBatch(tasks, task_indices, options=atari, seed=seed, num_threads=num_threads)
    seeds = np.random.SeedSequence(seed).generate_state(len(task_indices))
    return BatchedDmEnvironments(
        [
            make_environment(tasks, index, atari=atari, seed=int(environment_seed))
            for index, environment_seed in zip(task_indices, seeds, strict=True)
        ]
    )


def _check_indices(tasks: Sequence[Task], task_indices: Sequence[int]) -> None:
    if not task_indices:
        raise ValueError("task_indices is empty; a batch needs at least one environment")
    for index in task_indices:
        if not 0 <= index < len(tasks):
            raise ValueError(f"task index is {index}; it must be in [0, {len(tasks)})")
