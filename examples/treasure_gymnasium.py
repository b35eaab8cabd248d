"""A custom Gymnasium environment, trained on by name: `gym:MODULE:ID`.

python -m launch_programs.train --level_name=gym:examples.treasure_gymnasium:Treasure-v0
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

SIZE = 5  # the board's rows and columns
# What the actions do: up, down, left, right, as (rows, columns).
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))


class TreasureEnv(gymnasium.Env[np.ndarray, np.int64]):
    """Walk to the treasure on a small board, in as few steps as possible.

    The player and the treasure start on two random squares. A step costs 1, the treasure is worth
    10, and the episode ends when it is found.
    """

    def __init__(self) -> None:
        """Makes the game; Gymnasium seeds it at the first `reset`."""
        # Where the player is, and where the treasure is.
        self.observation_space = spaces.Box(0.0, 1.0, (2, SIZE, SIZE), np.float32)
        self.action_space = spaces.Discrete(len(MOVES))
        self._player = self._treasure = np.zeros(2, int)  # row, column

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode."""
        super().reset(seed=seed)
        squares = self.np_random.choice(SIZE * SIZE, size=2, replace=False)
        self._player, self._treasure = np.stack(np.divmod(squares, SIZE), axis=1)
        return self._board(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Moves the player; at the edge of the board it stays where it is."""
        self._player = np.clip(self._player + MOVES[action], 0, SIZE - 1)
        found = np.array_equal(self._player, self._treasure)
        return self._board(), 9.0 if found else -1.0, found, False, {}

    def _board(self) -> np.ndarray:
        board = np.zeros((2, SIZE, SIZE), np.float32)
        board[0, self._player[0], self._player[1]] = 1.0
        board[1, self._treasure[0], self._treasure[1]] = 1.0
        return board


# Importing this module registers it. Gymnasium keeps the time limit and tells it from a real end.
gymnasium.register(
    "Treasure-v0", entry_point="examples.treasure_gymnasium:TreasureEnv", max_episode_steps=30
)
