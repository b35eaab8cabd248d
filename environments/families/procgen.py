"""Procgen's sixteen games."""

import dataclasses
from collections.abc import Sequence

import dm_env
from dm_env import specs

from environments.atari_options import AtariOptions
from environments.batched import WithTask
from environments.families.family import Family
from environments.procgen_games import FEATURES, GAMES, LEVELS, SUITE4, SUITE16
from environments.rendering import Screen
from environments.task import Task, rest_of
from environments.types import BatchedEnvironment


class Procgen(Family):
    """procgen:GAME, with the scores of the easy levels unless the options say hard."""

    name = "procgen"
    tasks = tuple(
        Task(f"procgen:{name}", "procgen", *game.easy, 1, "R_max") for name, game in GAMES.items()
    )
    suites = {"procgen16": SUITE16, "procgen4": SUITE4}
    has_options = True

    def check(self, tasks: Sequence[Task], atari: AtariOptions) -> None:
        """Checks that the library is installed."""
        from environments.procgen import load_library

        del tasks, atari
        load_library()

    def scored(self, task: Task, atari: AtariOptions) -> Task:
        """The task with R_min and R_max for the levels that the options name."""
        game = GAMES[rest_of(task)]
        low, high = game.hard if atari.distribution_mode == "hard" else game.easy
        return dataclasses.replace(task, random_score=low, human_score=high)

    def unseen(self, atari: AtariOptions) -> AtariOptions | None:
        """All levels after those trained on; None if there are none."""
        if atari.num_levels == 0:
            return None
        begin = atari.start_level + atari.num_levels
        if begin >= LEVELS:
            return None
        return dataclasses.replace(atari, start_level=begin, num_levels=LEVELS - begin)

    def features_spec(self, task: Task) -> specs.Array:
        """A colour screen, whatever the game."""
        del task
        return FEATURES

    def make(
        self, tasks: Sequence[Task], index: int, atari: AtariOptions, seed: int
    ) -> dm_env.Environment:
        """Makes a game."""
        from environments.procgen import ProcgenEnvironment

        return WithTask(ProcgenEnvironment(tasks[index], atari, seed), index, len(tasks))

    def make_filmed(
        self, tasks: Sequence[Task], index: int, atari: AtariOptions, seed: int
    ) -> tuple[dm_env.Environment, Screen]:
        """Makes a game that is also drawn large."""
        from environments.procgen import ProcgenEnvironment

        game = ProcgenEnvironment(tasks[index], atari, seed, large=True)
        screen = Screen(lambda _: game.picture()[None], 15.0, game.action_names)
        return WithTask(game, index, len(tasks)), screen

    def make_batch(
        self,
        tasks: Sequence[Task],
        task_indices: Sequence[int],
        atari: AtariOptions,
        seed: int,
        num_threads: int | None,
    ) -> BatchedEnvironment:
        """Makes games that are stepped together, in C++."""
        from environments.procgen import ProcgenBatch

        return ProcgenBatch(tasks, task_indices, options=atari, seed=seed, num_threads=num_threads)
