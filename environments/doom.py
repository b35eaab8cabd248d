"""ViZDoom's scenarios, played through the library's game class.

To measure the scores of random play (environments/doom_scenarios.py) over 1,000 episodes of each:

    python -m environments.doom 1000
"""

import os
import sys
import tempfile
from typing import Any

import dm_env
import numpy as np
from dm_env import specs

from environments.doom_scenarios import (
    ACTION_NAMES,
    BUTTONS,
    FEATURES,
    FRAME_SKIP,
    SCENARIOS,
    SUITE,
)
from environments.task import Task, rest_of


class DoomEnvironment(dm_env.Environment):
    """One scenario; observations are uint8 [3, 60, 80].

    A time limit ends an episode with discount 1 and its true last observation. The engine would
    show none, so its own limit is off and tics are counted here. Where the scenario ends (a death,
    a goal), the discount is 0, and the last time step repeats the previous observation.
    """

    action_names = ACTION_NAMES

    def __init__(self, task: Task, seed: int):
        """Starts an engine in a process of its own.

        Args:
          task: a task of the domain "doom".
          seed: seeds all randomness.

        Raises:
          ValueError: the library is not installed.
        """
        library = _library()
        scenario = SCENARIOS[rest_of(task)]
        self._random = np.random.default_rng(seed)
        # The engine writes its settings to a file that engines starting together must not share.
        self._settings = tempfile.TemporaryDirectory(prefix="doom-")
        game = self._game = library.DoomGame()
        game.load_config(os.path.join(library.scenarios_path, f"{scenario.config}.cfg"))
        game.set_doom_config_path(os.path.join(self._settings.name, "engine.ini"))
        game.set_window_visible(False)
        game.set_mode(library.Mode.PLAYER)
        game.set_screen_resolution(library.ScreenResolution.RES_160X120)
        game.set_screen_format(library.ScreenFormat.CRCGCB)
        # Health and ammunition: the scenarios count them as state, but do not draw them.
        game.set_render_hud(True)
        game.set_render_minimal_hud(True)
        limit = game.get_episode_timeout()
        # The tic at which the library would end an episode; None if it would not.
        self._limit = game.get_episode_start_time() + limit if limit else None
        game.set_episode_timeout(0)
        game.set_seed(self._new_seed())
        buttons = [button.name for button in game.get_available_buttons()]
        self._presses = [[False] * len(buttons)] + [
            [button == name for button in buttons] for name in BUTTONS
        ]
        self._running = False
        self._screen = np.zeros((3, 120, 160), np.uint8)
        game.init()

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode."""
        self._game.set_seed(self._new_seed())
        self._game.new_episode()
        self._running = True
        return dm_env.restart(self._observed())

    def step(self, action: int) -> dm_env.TimeStep:
        """Presses a button for `FRAME_SKIP` tics. Starts an episode if none is running.

        Raises:
          Exception: the library's own, if the engine has stopped.
        """
        if not self._running:
            return self.reset()
        reward = float(self._game.make_action(self._presses[int(action)], FRAME_SKIP))
        ended = self._game.is_episode_finished()
        observation = self._observed()
        if ended:
            self._running = False
            return dm_env.termination(reward, observation)
        if self._limit is not None and self._game.get_episode_time() >= self._limit:
            self._running = False
            return dm_env.truncation(reward, observation)
        return dm_env.transition(reward, observation)

    def observation_spec(self) -> specs.BoundedArray:
        """Spec of the screen."""
        return FEATURES

    def action_spec(self) -> specs.DiscreteArray:
        """Spec of the action, int32."""
        return specs.DiscreteArray(len(ACTION_NAMES), np.int32, "action")

    def render(self) -> np.ndarray:
        """The screen as the engine draws it, uint8 [120, 160, 3]."""
        return self._screen.transpose(1, 2, 0)

    def close(self) -> None:
        """Stops the engine."""
        self._game.close()
        self._settings.cleanup()

    def _observed(self) -> np.ndarray:
        state = self._game.get_state()
        if state is not None:  # None after a scenario's end
            self._screen = np.array(state.screen_buffer)
        quarters = self._screen.reshape(3, 60, 2, 80, 2).astype(np.uint16)
        return ((quarters.sum((2, 4)) + 2) // 4).astype(np.uint8)

    def _new_seed(self) -> int:
        return int(self._random.integers(2**31))


def _library() -> Any:
    """Imports the library; raises ValueError if it is not installed."""
    try:
        import vizdoom
    except ImportError as error:
        raise ValueError(
            f"tasks doom:SCENARIO need the package {error.name or 'vizdoom'}: install the extra "
            "[doom]"
        ) from error
    return vizdoom


def random_returns(task: Task, episodes: int, seed: int) -> np.ndarray:
    """Returns of a uniform random policy, float64 [episodes]."""
    environment, random = DoomEnvironment(task, seed), np.random.default_rng(seed)
    returns = np.zeros(episodes)
    for episode in range(episodes):
        timestep = environment.reset()
        while not timestep.last():
            timestep = environment.step(int(random.integers(len(ACTION_NAMES))))
            returns[episode] += timestep.reward
    environment.close()
    return returns


if __name__ == "__main__":
    for name in sys.argv[2:] or SUITE:
        found = random_returns(Task(name, "doom", None, None, FRAME_SKIP), int(sys.argv[1]), 1)
        error = found.std(ddof=1) / len(found) ** 0.5
        print(f"{name} {found.mean():.4g} +- {error:.2g}", flush=True)
