"""Atari games, emulated by ale-py."""

from collections.abc import Sequence

import dm_env
from dm_env import specs

from environments.atari57 import ATARI57_SCORES
from environments.atari_options import FEATURES, AtariOptions
from environments.atari_others import OTHER_ATARI_GAMES
from environments.families.family import Family
from environments.rendering import Screen
from environments.task import Task
from environments.types import BatchedEnvironment


class Atari(Family):
    """The papers' 57 games with their scores, and the rest of ale-py's."""

    name = "atari"
    has_options = True
    tasks = (
        *(Task(name, "atari", random, human, 4) for name, random, human in ATARI57_SCORES),
        *(Task(name, "atari", None, None, 4) for name in OTHER_ATARI_GAMES),
    )
    suites = {
        "atari3": ("pong", "riverraid", "seaquest"),
        "atari57": tuple(name for name, _, _ in ATARI57_SCORES),
    }

    def check(self, tasks: Sequence[Task], atari: AtariOptions) -> None:
        """Checks that ROMs are installed and action sets equal."""
        from environments.atari import check_games

        check_games([task.name for task in tasks], atari)

    def features_spec(self, task: Task) -> specs.Array:
        """Four grey frames, whatever the game."""
        del task
        return FEATURES

    def make(
        self, tasks: Sequence[Task], index: int, atari: AtariOptions, seed: int
    ) -> dm_env.Environment:
        """Makes an emulator of one game."""
        from environments.atari import AtariEnvironment

        return AtariEnvironment(tasks, index, options=atari, seed=seed)

    def make_filmed(
        self, tasks: Sequence[Task], index: int, atari: AtariOptions, seed: int
    ) -> tuple[dm_env.Environment, Screen]:
        """Makes an emulator that shows every frame."""
        from environments.atari_film import FilmedAtariEnvironment

        filmed = FilmedAtariEnvironment(tasks, index, options=atari, seed=seed)
        return filmed, filmed.screen

    def make_batch(
        self,
        tasks: Sequence[Task],
        task_indices: Sequence[int],
        atari: AtariOptions,
        seed: int,
        num_threads: int | None,
    ) -> BatchedEnvironment:
        """Makes emulators that are stepped together, in C++ threads."""
        from environments.atari import AtariBatch

        return AtariBatch(tasks, task_indices, options=atari, seed=seed, num_threads=num_threads)
