"""Atari games with DeepMind's preprocessing, in a batch or one at a time.

ale-py's C++ vector environment does the preprocessing: each action is repeated for 4 frames; the
maximum of the last two is taken, converted to greyscale and resized to 84 x 84 by area
interpolation; the last four such frames are the observation. Rewards are summed over the repeated
frames and not clipped. FIRE is not pressed at the start: the agent has to learn that. This matches
Gymnasium's `AtariPreprocessing` and `FrameStackObservation(padding_type="zero")`, except for the
number of no-ops at the start (there from 1, here from 0).
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import ale_py
import dm_env
import numpy as np
from ale_py import roms
from ale_py.vector_env import AtariVectorEnv
from dm_env import specs
from gymnasium.vector import AutoresetMode

from environments.atari_options import FEATURES, AtariOptions
from environments.task import Task
from environments.types import (
    BatchedEnvironment,
    BatchedTimeStep,
    Observation,
    checked_actions,
    first_time_step,
    task_spec,
)


@dataclasses.dataclass(frozen=True)
class _Game:
    """The environments of one batch that play the same game."""

    emulator: AtariVectorEnv
    rows: np.ndarray  # int [n], their positions in the batch
    actions: np.ndarray  # int32 [num_actions], from `emulator_actions`


class AtariBatch(BatchedEnvironment):
    """N Atari games, any mix of them, emulated in parallel by threads.

    With `options.life_loss`, losing a life sets `discount` to 0 and `first` to true, the game
    continues, and `episode_end` marks the real end. The frame stack is then cleared, as at any
    other start.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        task_indices: Sequence[int],
        *,
        options: AtariOptions,
        seed: int,
        num_threads: int | None = None,
    ):
        """Starts the emulators.

        Args:
          tasks: the run's tasks.
          task_indices: [N], the task of each environment, in any order and with any repetitions.
          options: how the games are played.
          seed: each environment's own seed is derived from it, by position.
          num_threads: total number of threads; at least one per distinct game is started. By
            default one per environment, up to the number of cores available to this process.

        Raises:
          ValueError: if `task_indices` is empty, if `num_threads` is not positive, and as in
            `check_games`.
          FileNotFoundError: as in `check_games`.
        """
        check_games([task.name for task in tasks], options)
        if not task_indices:
            raise ValueError("task_indices is empty; a batch needs at least one environment")
        if num_threads is not None and num_threads < 1:
            raise ValueError(f"num_threads is {num_threads}; it must be at least 1")
        self._tasks = np.array(task_indices, np.int32)
        self._num_tasks = len(tasks)
        self._options = options
        rows_by_task = [np.flatnonzero(self._tasks == task) for task in np.unique(self._tasks)]
        cores = len(os.sched_getaffinity(0))
        threads = _divide(num_threads or cores, [len(rows) for rows in rows_by_task])
        self._games = []
        for rows, n in zip(rows_by_task, threads, strict=True):
            emulator = make_emulator(tasks[self._tasks[rows[0]]].name, len(rows), options, n)
            self._games.append(_Game(emulator, rows, emulator_actions(emulator, options)))
        self._num_actions = len(self._games[0].actions)
        # None once the first reset has used them.
        self._seeds: np.ndarray | None = emulator_seeds(seed, len(self._tasks))
        n = len(self._tasks)
        self._game_start = np.zeros(n, np.int64)  # the emulator's frame count when the game started
        self._age = np.zeros(n, np.int64)  # agent steps since the (learning) episode's start
        self._final_features = np.zeros((n, *FEATURES.shape), np.uint8)
        self._no_final_features = np.zeros_like(self._final_features)
        self._no_final_features.setflags(write=False)  # many time steps share it

    @property
    def tasks(self) -> np.ndarray:
        """The task of every environment, int32 [N]."""
        return self._tasks

    @property
    def final_features(self) -> np.ndarray:
        """uint8 [N, 4, 84, 84]; where the latest step was `first`, the ended episode's last stack.

        Later steps overwrite it.
        """
        return self._final_features

    def observation_spec(self) -> Observation:
        """Specs of one environment's frame stack and task."""
        return Observation(FEATURES, task_spec(self._num_tasks))

    def action_spec(self) -> specs.DiscreteArray:
        """Spec of one environment's action, int32."""
        return specs.DiscreteArray(self._num_actions, np.int32, "action")

    def reset(self) -> BatchedTimeStep:
        """Starts a new game in every environment."""
        self._require_open()
        n = self.num_environments
        features = np.empty((n, *FEATURES.shape), np.uint8)
        for game in self._games:
            self.stepping = game.rows.tolist()
            seeds = None if self._seeds is None else self._seeds[game.rows]
            features[game.rows], info = game.emulator.reset(seed=seeds)
            self._game_start[game.rows] = _game_start(info)
        self.stepping = ()
        self._seeds = None
        self._age[:] = 0
        return first_time_step(Observation(features, self._tasks.copy()), self._no_final_features)

    def step(self, actions: np.ndarray) -> BatchedTimeStep:
        """Repeats each action for 4 frames; starts a new game where one ends."""
        self._require_open()
        # Without this check, an out-of-range action would hang the emulator forever.
        actions = checked_actions(actions, self.num_environments, self._num_actions)
        for game in self._games:  # all games start running here, each in its own threads
            game.emulator.send(game.actions[actions[game.rows]])
        n = self.num_environments
        features = np.empty((n, *FEATURES.shape), np.uint8)
        reward = np.empty(n, np.float32)
        terminated = np.empty(n, np.bool_)
        truncated = np.empty(n, np.bool_)
        game_start = np.empty(n, np.int64)
        self._age += 1
        for game in self._games:
            rows = game.rows
            self.stepping = rows.tolist()
            features[rows], reward[rows], terminated[rows], truncated[rows], info = (
                game.emulator.recv()
            )
            game_start[rows] = _game_start(info)
            if "final_obs" in info:
                self._final_features[rows] = info["final_obs"]
        self.stepping = ()
        first = terminated | truncated
        # A terminated episode is either a game over, which restarts the game's frame count, or,
        # with life_loss, a lost life, which does not.
        episode_end = first & (game_start != self._game_start)
        self._game_start = game_start
        if self._options.life_loss:
            _clear_old_frames(self._final_features, self._age)
        self._age[first] = 0
        if self._options.life_loss:
            _clear_old_frames(features, self._age)
        return BatchedTimeStep(
            observation=Observation(features, self._tasks.copy()),
            reward=reward,
            discount=np.where(terminated, np.float32(0), np.float32(1)),
            first=first,
            episode_end=episode_end,
            final_features=(
                self._final_features.copy() if truncated.any() else self._no_final_features
            ),
        )

    def close(self) -> None:
        """Stops the emulators' threads."""
        self._games = []

    def _require_open(self) -> None:
        if not self._games:
            raise RuntimeError("the environment was closed")


class AtariEnvironment(dm_env.Environment):
    """One Atari game as a dm_env environment, for example for Acme's `EnvironmentLoop`.

    An episode's last time step has the true last observation; its discount is 0 if the game is over
    and 1 if it was cut off at `options.max_frames_per_episode`. An episode is a whole game unless
    `options.life_loss` is set: then losing a life ends an episode with discount 0, and the next
    `reset` continues the same game. Evaluation should not set it.
    """

    def __init__(self, tasks: Sequence[Task], index: int, *, options: AtariOptions, seed: int):
        """Starts the emulator.

        Args:
          tasks: the run's tasks.
          index: which of them to play.
          options: how the game is played.
          seed: seeds no-ops and sticky actions.

        Raises:
          ValueError, FileNotFoundError: as in `check_games`.
        """
        self._batch = AtariBatch(tasks, [index], options=options, seed=seed, num_threads=1)
        self._running = False
        # The emulator starts the next episode in the step that ends one; kept for reset().
        self._next: BatchedTimeStep | None = None

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode; in the middle of one, starts a new game."""
        start, self._next = self._next, None
        if start is None:
            start = self._batch.reset()
        self._running = True
        return dm_env.restart(_only(start.observation))

    def step(self, action: int) -> dm_env.TimeStep:
        """Repeats the action for 4 frames. Starts an episode if none is running."""
        if not self._running:
            return self.reset()
        step = self._batch.step(np.array([action]))
        reward, discount = float(step.reward[0]), float(step.discount[0])
        if not step.first[0]:
            return dm_env.transition(reward, _only(step.observation), discount)
        self._running = False
        self._next = step
        final = step.observation._replace(features=self._batch.final_features.copy())
        if discount > 0:
            return dm_env.truncation(reward, _only(final), discount)
        return dm_env.termination(reward, _only(final))

    def observation_spec(self) -> Observation:
        """Specs of the frame stack and the task."""
        return self._batch.observation_spec()

    def action_spec(self) -> specs.DiscreteArray:
        """Spec of the action, int32."""
        return self._batch.action_spec()

    def close(self) -> None:
        """Stops the emulator's thread."""
        self._batch.close()


def check_games(games: Sequence[str], options: AtariOptions) -> None:
    """Checks that one agent can play these games here.

    Args:
      games: names of ROM files.
      options: how the games are played.

    Raises:
      FileNotFoundError: if a game's ROM is not installed.
      ValueError: if minimal action sets are requested and differ between games.
    """
    for game in games:
        _rom_path(game)
    if options.action_set != "minimal" or len(games) < 2:
        return
    expected = _minimal_actions(games[0])
    for game in games[1:]:
        actions = _minimal_actions(game)
        if actions != expected:
            raise ValueError(
                f"action_set is 'minimal', but the sets of {games[0]} ({' '.join(expected)}) "
                f"and {game} ({' '.join(actions)}) differ; use action_set='full' for several games"
            )


def _rom_path(game: str) -> os.PathLike[str]:
    """Returns the path of a game's ROM; raises FileNotFoundError if it is not installed."""
    if game not in roms.get_all_rom_ids():
        raise FileNotFoundError(f"ale-py has no ROM for the game {game!r}")
    path = roms.get_rom_path(game)
    assert path is not None  # None only for names that are not among the ids
    return path


def _minimal_actions(game: str) -> list[str]:
    return [action.name for action in _loaded(game).getMinimalActionSet()]


def screen_size(game: str) -> tuple[int, int]:
    """Height and width of a game's screen in pixels: 210 x 160, or 250 x 160 for European games."""
    height, width = _loaded(game).getScreenDims()
    return height, width


def _loaded(game: str) -> ale_py.ALEInterface:
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.loadROM(_rom_path(game))
    return ale


def emulator_seeds(seed: int, num_environments: int) -> np.ndarray:
    """Seeds for a batch of emulators, int64 [num_environments]; each a non-negative int32."""
    return (np.random.SeedSequence(seed).generate_state(num_environments) >> 1).astype(np.int64)


def action_names(emulator: AtariVectorEnv, options: AtariOptions) -> tuple[str, ...]:
    """Names of the agent's actions in a game, in order."""
    if options.action_set == "full":
        return tuple(ale_py.Action.__members__)
    return tuple(action.name for action in emulator.ale.get_action_set())


def emulator_actions(emulator: AtariVectorEnv, options: AtariOptions) -> np.ndarray:
    """The emulator's number for each action of the agent, int32 [num_actions].

    ale-py's own full set lacks the fire button where the game does not read it: Skiing has 9
    actions, and would hang on any other. There, an action with fire becomes the one without.
    """
    numbers = {action.name: i for i, action in enumerate(emulator.ale.get_action_set())}
    return np.array(
        [
            numbers[name] if name in numbers else numbers[name.removesuffix("FIRE") or "NOOP"]
            for name in action_names(emulator, options)
        ],
        np.int32,
    )


def make_emulator(
    game: str, num_environments: int, options: AtariOptions, num_threads: int, **pictures: Any
) -> AtariVectorEnv:
    """Starts emulators of one game.

    Args:
      game: name of the ROM file.
      num_environments: how many to start.
      options: how the game is played.
      num_threads: how many threads emulate them.
      pictures: arguments of ale-py's `AtariVectorEnv`, for observations other than `FEATURES`.
    """
    return AtariVectorEnv(
        game,
        num_environments,
        num_threads=num_threads,
        max_num_frames_per_episode=options.max_frames_per_episode,
        repeat_action_probability=options.repeat_action_probability,
        full_action_space=options.action_set == "full",
        autoreset_mode=AutoresetMode.SAME_STEP,
        noop_max=options.noop_max,
        # ale-py's `episodic_life` would restart the game when a life is lost; here it continues.
        episodic_life=False,
        life_loss_info=options.life_loss,
        reward_clipping=False,
        use_fire_reset=False,
        **pictures,
    )


def _divide(num_threads: int, counts: Sequence[int]) -> list[int]:
    """Divides threads among games in proportion to their numbers of environments.

    Every game gets at least one thread and at most one per environment.
    """
    threads = [1] * len(counts)
    while sum(threads) < min(num_threads, sum(counts)):
        neediest = max(range(len(counts)), key=lambda i: counts[i] / threads[i])
        threads[neediest] += 1
    return threads


def _game_start(info: dict[str, Any]) -> np.ndarray:
    """The emulators' frame counts [n] when their current games started; a new game's is higher."""
    return info["frame_number"] - info["episode_frame_number"]


def _clear_old_frames(features: np.ndarray, age: np.ndarray) -> None:
    """Zeroes in place the frames of stacks [N, 4, 84, 84] that are from before the episode.

    Args:
      features: the stacks.
      age: [N], how many agent steps ago the episode started.
    """
    stack = features.shape[1]
    for row in np.flatnonzero(age < stack - 1):
        features[row, : stack - 1 - age[row]] = 0


def _only(observation: Observation) -> Observation:
    """The observation of the only environment of a batch."""
    return Observation(observation.features[0], np.asarray(observation.task[0]))
