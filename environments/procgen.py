"""Procgen's games, in the library's own batches or one at a time."""

from collections.abc import Sequence
from typing import Any

import dm_env
import numpy as np
from dm_env import specs

from environments.atari_options import AtariOptions
from environments.procgen_games import ACTION_NAMES, FEATURES, GAMES
from environments.task import Task, rest_of
from environments.types import (
    BatchedEnvironment,
    BatchedTimeStep,
    Observation,
    checked_actions,
    first_time_step,
    task_spec,
)

# The library's action that starts another episode.
_RESET = -1


class ProcgenBatch(BatchedEnvironment):
    """N games, any mix of them: one library batch per distinct game, stepped in C++.

    Where an episode ends, the library shows the next one's first observation, never the last one:
    steps that a time limit cuts off are not learned from (`final_features` is None).
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        task_indices: Sequence[int],
        *,
        options: AtariOptions,
        seed: int,
        num_threads: int | None = None,
        large: bool = False,
    ):
        """Makes the games.

        Args:
          tasks: the run's tasks, of the domain "procgen".
          task_indices: [N], the task of each game, in any order and with any repetitions.
          options: the levels to play.
          seed: seeds the choice of levels and all other randomness.
          num_threads: threads of each game's batch; by default the caller's thread steps the games.
          large: whether to draw 512 x 512 pictures for people, which `pictures` returns.

        Raises:
          ValueError: as in `load_library`.
        """
        library = load_library()
        self._tasks = np.array(task_indices, np.int32)
        self._num_tasks = len(tasks)
        self._games: list[tuple[Any, np.ndarray]] = []
        distinct = np.unique(self._tasks)
        seeds = np.random.SeedSequence(seed).generate_state(len(distinct)) >> 1
        for task, rand_seed in zip(distinct.tolist(), seeds.tolist(), strict=True):
            rows = np.flatnonzero(self._tasks == task)
            game = library(
                len(rows),
                rest_of(tasks[task]),
                distribution_mode=options.distribution_mode,
                num_levels=options.num_levels,
                start_level=options.start_level,
                rand_seed=rand_seed,
                # One thread gains nothing over the caller's.
                num_threads=num_threads if num_threads is not None and num_threads > 1 else 0,
                render_mode="rgb_array" if large else None,
            )
            self._games.append((game, rows))
        limits = [GAMES[rest_of(task)].time_limit for task in tasks]
        self._limits = np.array(limits)[self._tasks]
        self._age = np.zeros(len(self._tasks), np.int64)  # steps since the episode's start
        self._fresh = True  # the library starts episodes when games are made

    @property
    def tasks(self) -> np.ndarray:
        """The task of every game, int32 [N]."""
        return self._tasks

    def observation_spec(self) -> Observation:
        """Specs of one game's screen, uint8 [3, 64, 64], and task."""
        return Observation(FEATURES, task_spec(self._num_tasks))

    def action_spec(self) -> specs.DiscreteArray:
        """Spec of one game's action, int32."""
        return specs.DiscreteArray(len(ACTION_NAMES), np.int32, "action")

    def reset(self) -> BatchedTimeStep:
        """Starts a new episode of every game."""
        n = self.num_environments
        if not self._fresh:
            self._act(np.full(n, _RESET, np.int32))
        self._fresh = False
        _, features, _ = self._observe()
        self._age[:] = 0
        return first_time_step(Observation(features, self._tasks.copy()))

    def step(self, actions: np.ndarray) -> BatchedTimeStep:
        """Steps every game; the library starts a new episode where one ends."""
        self._act(checked_actions(actions, self.num_environments, len(ACTION_NAMES)))
        self._fresh = False
        reward, features, first = self._observe()
        self._age += 1
        cut_off = first & (self._age >= self._limits)
        self._age[first] = 0
        return BatchedTimeStep(
            observation=Observation(features, self._tasks.copy()),
            reward=reward,
            discount=np.where(first & ~cut_off, np.float32(0), np.float32(1)),
            first=first,
            episode_end=first.copy(),
        )

    def pictures(self) -> np.ndarray:
        """Pictures of the games for people, uint8 [N, 512, 512, 3]; only with `large`."""
        pictures = np.empty((self.num_environments, 512, 512, 3), np.uint8)
        for game, rows in self._games:
            for row, info in zip(rows, game.get_info(), strict=True):
                pictures[row] = info["rgb"]
        return pictures

    def close(self) -> None:
        """Frees the games."""
        for game, _ in self._games:
            game.close()
        self._games = []

    def _act(self, actions: np.ndarray) -> None:
        if not self._games:
            raise RuntimeError("the environment was closed")
        for game, rows in self._games:
            self.stepping = rows.tolist()
            game.act(actions[rows])
        self.stepping = ()

    def _observe(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rewards float32 [N], features uint8 [N, 3, 64, 64], episode starts bool [N]."""
        n = self.num_environments
        reward, first = np.empty(n, np.float32), np.empty(n, np.bool_)
        features = np.empty((n, *FEATURES.shape), np.uint8)
        for game, rows in self._games:
            self.stepping = rows.tolist()
            reward[rows], observation, first[rows] = game.observe()
            features[rows] = observation["rgb"].transpose(0, 3, 1, 2)
        self.stepping = ()
        return reward, features, first


class ProcgenEnvironment(dm_env.Environment):
    """One game as a dm_env environment; observations are uint8 [3, 64, 64].

    The library does not show an episode's last observation, so the last time step repeats the
    previous one. Its discount is 1 if the time limit ended the episode, else 0.
    """

    action_names = ACTION_NAMES

    def __init__(self, task: Task, options: AtariOptions, seed: int, *, large: bool = False):
        """Makes the game.

        Args:
          task: a task of the domain "procgen".
          options: the levels to play.
          seed: seeds the choice of levels and all other randomness.
          large: whether `picture` is available, at 512 x 512.

        Raises:
          ValueError: as in `load_library`.
        """
        self._batch = ProcgenBatch([task], [0], options=options, seed=seed, large=large)
        self._large = large
        self._next: BatchedTimeStep | None = None  # the next episode's start
        self._running = False

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode."""
        start, self._next = self._next, None
        self._running = True
        return dm_env.restart(self._seen(start if start is not None else self._batch.reset()))

    def step(self, action: int) -> dm_env.TimeStep:
        """Takes a step. Starts an episode if none is running."""
        if not self._running:
            return self.reset()
        step = self._batch.step(np.array([int(action)]))
        reward = float(step.reward[0])
        if not step.first[0]:
            return dm_env.transition(reward, self._seen(step))
        self._running, self._next = False, step
        last = self._last.copy()
        if step.discount[0] > 0:
            return dm_env.truncation(reward, last)
        return dm_env.termination(reward, last)

    def picture(self) -> np.ndarray:
        """The last observation drawn for people, uint8 [512, 512, 3]; only with `large`."""
        return self._picture

    def observation_spec(self) -> specs.BoundedArray:
        """Spec of the screen."""
        return FEATURES

    def action_spec(self) -> specs.DiscreteArray:
        """Spec of the action, int32."""
        return self._batch.action_spec()

    def close(self) -> None:
        """Frees the game."""
        self._batch.close()

    def _seen(self, step: BatchedTimeStep) -> np.ndarray:
        self._last = step.observation.features[0]
        if self._large:
            self._picture = self._batch.pictures()[0]
        return self._last


def load_library() -> Any:
    """Imports the library's class for batches of one game.

    Raises:
      ValueError: it is not installed, or its C++ part does not load here.
    """
    try:
        from procgen import ProcgenGym3Env
    except ImportError as error:
        raise ValueError(
            f"tasks procgen:GAME need the package {error.name or 'procgen'}: install the extra "
            "[procgen]; there are wheels for CPython 3.7 to 3.10 on x86-64 (Linux, macOS, Windows)"
        ) from error
    except OSError as error:
        raise ValueError(f"tasks procgen:GAME: Procgen does not load here: {error}") from error
    return ProcgenGym3Env
