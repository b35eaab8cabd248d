"""An Atari game that shows every frame of its screen in colour."""

from collections.abc import Sequence

import dm_env
import numpy as np
from ale_py.vector_env import AtariVectorEnv

from environments.atari import (
    AtariEnvironment,
    action_names,
    emulator_actions,
    emulator_seeds,
    make_emulator,
    screen_size,
)
from environments.atari_options import AtariOptions
from environments.rendering import Screen
from environments.task import Task
from environments.types import Observation

# The emulator's own rate: NTSC.
FRAMES_PER_SECOND = 60.0


class FilmedAtariEnvironment(dm_env.Environment):
    """An `AtariEnvironment` next to a second emulator that shows it in colour.

    The agent plays the first one, which is exactly the environment of an evaluation without
    pictures: its frames are those that the network sees. The second one gets the same seed and
    actions, shows each of a step's four frames in colour, and is checked to give the same rewards
    and episode ends.
    """

    def __init__(self, tasks: Sequence[Task], index: int, *, options: AtariOptions, seed: int):
        """Starts both emulators.

        Args:
          tasks: the run's tasks.
          index: which of them to play.
          options: how the game is played; without `life_loss`.
          seed: seeds no-ops and sticky actions.

        Raises:
          ValueError, FileNotFoundError: as in `AtariEnvironment`; ValueError also with `life_loss`.
        """
        if options.life_loss:
            raise ValueError("life_loss is True; only whole games are filmed")
        self._environment = AtariEnvironment(tasks, index, options=options, seed=seed)
        height, width = screen_size(tasks[index].name)
        self._emulator: AtariVectorEnv | None = make_emulator(
            tasks[index].name,
            1,
            options,
            1,
            frameskip=1,
            stack_num=1,
            maxpool=False,
            grayscale=False,
            img_height=height,
            img_width=width,
        )
        self._action_repeat = tasks[index].action_repeat
        self._names = action_names(self._emulator, options)
        self._actions = emulator_actions(self._emulator, options)
        self._seeds: np.ndarray | None = emulator_seeds(seed, 1)
        self._frames: list[np.ndarray] = []
        self._start: np.ndarray | None = None  # first picture of a game that started automatically
        self._over = True

    @property
    def screen(self) -> Screen:
        """The emulator's screen: every emulated frame except the no-ops at the start.

        The emulator has no picture of a game's last frame; the one before it is shown twice.
        """
        return Screen(lambda _: np.stack(self._frames), FRAMES_PER_SECOND, self._names)

    def reset(self) -> dm_env.TimeStep:
        """See `AtariEnvironment.reset`."""
        timestep = self._environment.reset()
        start, self._start = self._start, None
        if start is None:
            observation, _ = self._opened().reset(seed=self._seeds)
            self._seeds = None
            start = observation[0, 0]
        self._frames = [start]
        self._over = False
        return timestep

    def step(self, action: int) -> dm_env.TimeStep:
        """See `AtariEnvironment.step`.

        Raises:
          RuntimeError: the two emulators differ in reward or end, which must not happen.
        """
        if self._over:
            return self.reset()
        timestep = self._environment.step(action)
        reward, self._over = 0.0, False
        self._frames = []
        while len(self._frames) < self._action_repeat and not self._over:
            observation, rewards, terminated, truncated, info = self._opened().step(
                self._actions[[action]]
            )
            reward += float(rewards[0])
            self._over = bool(terminated[0] or truncated[0])
            picture = info["final_obs"] if self._over else observation
            self._frames.append(np.array(picture[0, 0]))
        if self._over:
            self._start = np.array(observation[0, 0])
        if (reward, self._over) != (timestep.reward, timestep.last()):
            raise RuntimeError(
                f"the emulator that is filmed gave reward {reward}, end {self._over}; the one that "
                f"is played {timestep.reward}, {timestep.last()}"
            )
        return timestep

    def observation_spec(self) -> Observation:
        """See `AtariEnvironment.observation_spec`."""
        return self._environment.observation_spec()

    def action_spec(self) -> dm_env.specs.DiscreteArray:
        """See `AtariEnvironment.action_spec`."""
        return self._environment.action_spec()

    def close(self) -> None:
        """Stops the emulators' threads."""
        self._environment.close()
        self._emulator = None

    def _opened(self) -> AtariVectorEnv:
        if self._emulator is None:
            raise RuntimeError("the environment was closed")
        return self._emulator
