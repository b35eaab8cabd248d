"""MinAtar's five small games, from its authors' library."""

from collections.abc import Sequence

import dm_env

from environments.atari_options import AtariOptions
from environments.families.family import DmFamily, environment_seeds
from environments.minatar_games import GAMES, SCALES_SUITE, SUITE
from environments.task import Task
from environments.types import BatchedEnvironment


class MinAtar(DmFamily):
    """The five games, each also with multiplied rewards."""

    name = "minatar"
    tasks = tuple(Task(name, "minatar", game.random_score, None, 1) for name, game in GAMES.items())
    suites = {"minatar": SUITE, "minatar_scales": SCALES_SUITE}

    def make_alone(self, task: Task, seed: int) -> dm_env.Environment:
        """Makes a game."""
        from environments.minatar import MinAtarEnvironment

        return MinAtarEnvironment(task, seed)

    def make_batch(
        self,
        tasks: Sequence[Task],
        task_indices: Sequence[int],
        atari: AtariOptions,
        seed: int,
        num_threads: int | None,
    ) -> BatchedEnvironment:
        """Makes games that are stepped together, without a dm_env time step for each."""
        from environments.minatar import MinAtarBatch

        return MinAtarBatch(tasks, task_indices, environment_seeds(seed, len(task_indices)))
