"""MinAtar's games, in a batch or one at a time.

They are played with the library's defaults: sticky actions, rising difficulty and the full set of
actions. Episodes are truncated after `MAX_STEPS`. Only the library's games are loaded: the package
itself would load pandas, Seaborn and pyplot into every actor.
"""

import functools
import importlib.util
import os
from collections.abc import Sequence
from typing import Any

import dm_env
import numpy as np
from dm_env import specs

from environments.minatar_games import ACTION_NAMES, FEATURES, GAMES, MAX_STEPS
from environments.task import Task
from environments.types import (
    BatchedEnvironment,
    BatchedTimeStep,
    Observation,
    checked_actions,
    first_time_step,
    task_spec,
)

# The library's default: the probability that the last action replaces the chosen one.
STICKY_ACTION_PROBABILITY = 0.1

# Colours of objects, the topmost last; planes not listed are hidden by those that are. Names are
# the library's. The colours are Okabe and Ito's, with greys for traces, which show where an object
# came from.
_BACKGROUND = (40, 40, 40)
_COLOURS = {
    "trail": (90, 90, 90),
    "speed5": (70, 70, 70),  # of Freeway's cars: the slowest
    "speed4": (90, 90, 90),
    "speed3": (115, 115, 115),
    "speed2": (140, 140, 140),
    "speed1": (170, 170, 170),
    "brick": (0, 158, 115),
    "oxygen_guage": (86, 180, 233),
    "diver_guage": (0, 158, 115),
    "diver": (0, 158, 115),
    "gold": (0, 158, 115),
    "enemy": (213, 94, 0),
    "alien": (213, 94, 0),
    "car": (213, 94, 0),
    "enemy_fish": (213, 94, 0),
    "enemy_sub": (204, 121, 167),
    "enemy_bullet": (230, 159, 0),
    "friendly_bullet": (240, 228, 66),
    "ball": (240, 228, 66),
    "sub_back": (0, 114, 178),
    "sub_front": (255, 255, 255),
    "player": (255, 255, 255),
    "paddle": (255, 255, 255),
    "cannon": (255, 255, 255),
    "chicken": (255, 255, 255),
}


class _Play:
    """A game that continues from episode to episode."""

    def __init__(self, task: Task, seed: int):
        """Starts no episode yet.

        Args:
          task: a task of the domain "minatar".
          seed: an integer of at least 0; seeds all randomness.

        Raises:
          ValueError: the library is not installed.
        """
        game = GAMES[task.name]
        self._factor = game.factor
        # As in the library, the game and the sticky actions draw from one source.
        random = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
        self._draw = random.random_sample
        self.game = _load(game.module).Env(ramping=True)
        self.game.random = random
        self._planes = self.game.state_shape()[2]
        # As in the library, kept when an episode ends.
        self._last_action = 0
        self._steps = 0

    def reset(self) -> None:
        """Starts an episode."""
        self.game.reset()
        self._steps = 0

    def step(self, action: int) -> tuple[float, bool, bool]:
        """Takes a step; returns the reward, whether the game terminated, whether it is cut off."""
        if self._draw() >= STICKY_ACTION_PROBABILITY:
            self._last_action = action
        self._steps += 1
        reward, terminated = self.game.act(self._last_action)
        return reward * self._factor, terminated, self._steps >= MAX_STEPS and not terminated

    def show(self, board: np.ndarray) -> None:
        """Writes the board into `board`, bool [10, 10, 10], whose other planes are empty."""
        board[:, :, : self._planes] = self.game.state()


class MinAtarEnvironment(dm_env.Environment):
    """One game. Observations are bool [10, 10, 10]: rows, columns, planes."""

    action_names = ACTION_NAMES

    def __init__(self, task: Task, seed: int):
        """Makes the game.

        Args:
          task: a task of the domain "minatar".
          seed: an integer of at least 0; seeds all randomness.

        Raises:
          ValueError: the library is not installed.
        """
        self._play = _Play(task, seed)
        self._running = False

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode."""
        self._play.reset()
        self._running = True
        return dm_env.restart(self._board())

    def step(self, action: int) -> dm_env.TimeStep:
        """Takes a step. Starts an episode if none is running."""
        if not self._running:
            return self.reset()
        reward, terminated, truncated = self._play.step(int(action))
        self._running = not (terminated or truncated)
        board = self._board()
        if terminated:
            return dm_env.termination(reward, board)
        if truncated:
            return dm_env.truncation(reward, board)
        return dm_env.transition(reward, board)

    def observation_spec(self) -> specs.BoundedArray:
        """Spec of the board."""
        return FEATURES

    def action_spec(self) -> specs.DiscreteArray:
        """Spec of the action, int32."""
        return specs.DiscreteArray(len(ACTION_NAMES), np.int32, "action")

    def render(self) -> np.ndarray:
        """The board, uint8 [10, 10, 3], with a colour for each kind of object."""
        planes, state = self._play.game.channels, self._play.game.state()
        picture = np.full((*state.shape[:2], 3), _BACKGROUND, np.uint8)
        for name, colour in _COLOURS.items():
            if name in planes:
                picture[state[:, :, planes[name]]] = colour
        return picture

    def _board(self) -> np.ndarray:
        board = np.zeros(FEATURES.shape, np.bool_)
        self._play.show(board)
        return board


class MinAtarBatch(BatchedEnvironment):
    """N games, any mix of them, stepped one after the other.

    Equivalent to `BatchedDmEnvironments` of `MinAtarEnvironment`s, but takes two thirds of the time
    over all games together (14 instead of 20 core-microseconds a step): in most games, a step takes
    less time than the overhead of that class.
    """

    def __init__(self, tasks: Sequence[Task], task_indices: Sequence[int], seeds: Sequence[int]):
        """Makes the games.

        Args:
          tasks: the run's tasks, of the domain "minatar".
          task_indices: [N], the task of each game, in any order and with any repetitions.
          seeds: [N], as for `MinAtarEnvironment`.

        Raises:
          ValueError: the library is not installed.
        """
        self._tasks = np.array(task_indices, np.int32)
        self._num_tasks = len(tasks)
        self._plays = [
            _Play(tasks[index], seed) for index, seed in zip(task_indices, seeds, strict=True)
        ]

    @property
    def tasks(self) -> np.ndarray:
        """The task of every game, int32 [N]."""
        return self._tasks

    def observation_spec(self) -> Observation:
        """Specs of one game's board and task."""
        return Observation(FEATURES, task_spec(self._num_tasks))

    def action_spec(self) -> specs.DiscreteArray:
        """Spec of one game's action, int32."""
        return specs.DiscreteArray(len(ACTION_NAMES), np.int32, "action")

    def reset(self) -> BatchedTimeStep:
        """Starts a new episode of every game."""
        n = self.num_environments
        boards = np.zeros((n, *FEATURES.shape), np.bool_)
        for i, play in enumerate(self._plays):
            self.stepping = (i,)
            play.reset()
            play.show(boards[i])
        self.stepping = ()
        return first_time_step(Observation(boards, self._tasks.copy()), np.zeros_like(boards))

    def step(self, actions: np.ndarray) -> BatchedTimeStep:
        """Steps every game, and starts a new episode where one ends."""
        n = self.num_environments
        chosen = checked_actions(actions, n, len(ACTION_NAMES)).tolist()
        boards = np.zeros((n, *FEATURES.shape), np.bool_)
        final_boards = np.zeros_like(boards)
        reward = np.empty(n, np.float32)
        discount = np.ones(n, np.float32)
        first = np.zeros(n, np.bool_)
        for i, play in enumerate(self._plays):
            self.stepping = (i,)
            reward[i], terminated, truncated = play.step(chosen[i])
            if terminated or truncated:
                first[i] = True
                discount[i] = 0.0 if terminated else 1.0
                if truncated:
                    play.show(final_boards[i])
                play.reset()
            play.show(boards[i])
        self.stepping = ()
        observation = Observation(boards, self._tasks.copy())
        return BatchedTimeStep(observation, reward, discount, first, first.copy(), final_boards)

    def close(self) -> None:
        """Does nothing: no resources are held."""


@functools.cache
def _load(game: str) -> Any:
    """Loads the library's module of a game, without the package that contains it.

    Raises:
      ValueError: the library is not installed.
    """
    package = importlib.util.find_spec("minatar")
    if package is None or not package.submodule_search_locations:
        raise ValueError(
            f"task 'minatar:{game}': needs the package minatar; make setup installs it"
        )
    path = os.path.join(package.submodule_search_locations[0], "environments", f"{game}.py")
    spec = importlib.util.spec_from_file_location(f"minatar_{game}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
