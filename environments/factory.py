"""Tasks -> environments."""

import contextlib
from collections.abc import Sequence

import dm_env
import numpy as np
from dm_env import specs

from environments import conversion
from environments.atari_options import FEATURES, AtariOptions
from environments.batched import BatchedDmEnvironments, WithTask
from environments.on_demand import make_on_demand
from environments.rendering import Screen, screen_of
from environments.tasks import ON_DEMAND, Task
from environments.toy import GAMES
from environments.types import BatchedEnvironment
from environments.user_code import reported


def check_tasks(tasks: Sequence[Task], *, atari: AtariOptions) -> None:
    """Checks that one agent can play these tasks here.

    Takes no more than a second, but for tasks made on demand, which may take any time to make.

    Args:
      tasks: the run's tasks.
      atari: how Atari games are played.

    Raises:
      ValueError: if there is no task, if the tasks' domains differ, if the games have different
        minimal action sets and those are asked for, as `make_on_demand`, if tasks differ in
        features or actions, or if MinAtar's library is not installed.
      FileNotFoundError: if a game's ROM is not installed.
    """
    domain = _domain(tasks)
    if domain == "atari":
        from environments.atari import check_games  # loads the emulator: only for those who need it

        check_games([task.name for task in tasks], atari)
    else:
        first = _specs(tasks[0])
        for task in tasks[1:]:
            if (other := _specs(task)) != first:
                raise ValueError(
                    "the tasks of a run must have equal observations and actions: "
                    f"{tasks[0].name} has {first[0]} and {first[1]}; "
                    f"{task.name} has {other[0]} and {other[1]}"
                )


def features_spec(tasks: Sequence[Task]) -> specs.Array:
    """Spec of the features that the tasks show, by the first of them.

    Raises:
      ValueError: if there is no task, if the tasks' domains differ, and as `make_on_demand`.
    """
    return FEATURES if _domain(tasks) == "atari" else _specs(tasks[0])[0]


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
        games, and as `make_on_demand`.
      FileNotFoundError: as `check_tasks`.
    """
    _check_indices(tasks, [index])
    if tasks[index].domain == "atari":
        from environments.atari import AtariEnvironment

        return AtariEnvironment(tasks, index, options=atari, seed=seed)
    _domain(tasks)
    return WithTask(_make(tasks[index], seed), index, len(tasks))


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
    task = tasks[index]
    if task.domain == "atari":
        from environments.atari_screen import FilmedAtariEnvironment

        filmed = FilmedAtariEnvironment(tasks, index, options=atari, seed=seed)
        return filmed, filmed.screen
    _domain(tasks)
    if task.domain == "gym":
        from environments.gymnasium_env import make_filmed_gymnasium

        with reported(task.name):
            environment, screen = make_filmed_gymnasium(task.name.partition(":")[2], seed)
    else:
        environment = _make(task, seed)
        with reported(task.name):
            screen = screen_of(environment)
    return WithTask(environment, index, len(tasks)), screen


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
    if tasks[0].domain == "atari":
        from environments.atari import AtariBatch

        return AtariBatch(tasks, task_indices, options=atari, seed=seed, num_threads=num_threads)
    seeds = np.random.SeedSequence(seed).generate_state(len(task_indices)).tolist()
    if _domain(tasks) == "minatar":
        from environments.minatar import MinAtarBatch

        return MinAtarBatch(tasks, task_indices, seeds)
    return BatchedDmEnvironments(
        [
            make_environment(tasks, index, atari=atari, seed=environment_seed)
            for index, environment_seed in zip(task_indices, seeds, strict=True)
        ]
    )


def _domain(tasks: Sequence[Task]) -> str:
    """The tasks' domain; raises ValueError if they have not one."""
    domains = sorted({task.domain for task in tasks})
    if len(domains) != 1:
        raise ValueError(f"the tasks of a run must be of one domain, got {domains or 'no task'}")
    return domains[0]


def _make(task: Task, seed: int) -> dm_env.Environment:
    """The environment of a task that is no Atari game, without the task in its observations."""
    if task.domain in ON_DEMAND:
        return make_on_demand(task, seed)
    if task.domain == "minatar":
        from environments.minatar import MinAtarEnvironment  # loads the games

        return MinAtarEnvironment(task, seed)
    return GAMES[task.name].make(seed)


def _specs(task: Task) -> tuple[specs.Array, specs.DiscreteArray]:
    """Specs of features and actions of a task that is no Atari game."""
    environment = _make(task, 0)
    with reported(task.name), contextlib.closing(environment):
        return conversion.features_spec(environment.observation_spec()), environment.action_spec()


def _check_indices(tasks: Sequence[Task], task_indices: Sequence[int]) -> None:
    if not task_indices:
        raise ValueError("task_indices is empty; a batch needs at least one environment")
    for index in task_indices:
        if not 0 <= index < len(tasks):
            raise ValueError(f"task index is {index}; it must be in [0, {len(tasks)})")
