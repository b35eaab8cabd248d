"""A custom dm_env environment, trained on by name: `dm_env:MODULE:FACTORY`.

python -m launch_programs.train --level_name=dm_env:examples.treasure_dm_env:make
"""

import dm_env
import numpy as np
from dm_env import specs

SIZE = 5  # the board's rows and columns
TIME_LIMIT = 30  # steps
# What the actions do: up, down, left, right, as (rows, columns).
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))


class Treasure(dm_env.Environment):
    """Walk to the treasure on a small board, in as few steps as possible.

    The player and the treasure start on two random squares. A step costs 1, the treasure is worth
    10, and the episode ends when it is found, or is cut off after `TIME_LIMIT` steps.
    """

    def __init__(self, seed: int):
        """Makes the game.

        Args:
          seed: seeds the squares.
        """
        self._random = np.random.default_rng(seed)
        self._player = self._treasure = np.zeros(2, int)  # row, column
        self._steps = 0
        self._running = False

    def observation_spec(self) -> specs.BoundedArray:
        """Float32 [2, SIZE, SIZE]: 1 where the player is, and where the treasure is."""
        return specs.BoundedArray((2, SIZE, SIZE), np.float32, 0.0, 1.0, "board")

    def action_spec(self) -> specs.DiscreteArray:
        """Up, down, left, right."""
        return specs.DiscreteArray(len(MOVES), name="move")

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode."""
        squares = self._random.choice(SIZE * SIZE, size=2, replace=False)
        self._player, self._treasure = np.stack(np.divmod(squares, SIZE), axis=1)
        self._steps = 0
        self._running = True
        return dm_env.restart(self._board())

    def step(self, action: int) -> dm_env.TimeStep:
        """Moves the player; at the edge of the board it stays where it is."""
        if not self._running:
            return self.reset()  # as dm_env requires after an episode's end
        self._player = np.clip(self._player + MOVES[action], 0, SIZE - 1)
        self._steps += 1
        if np.array_equal(self._player, self._treasure):
            self._running = False
            return dm_env.termination(reward=9.0, observation=self._board())
        if self._steps == TIME_LIMIT:
            # Not `termination`: the game would continue, and the learner distinguishes the two.
            self._running = False
            return dm_env.truncation(reward=-1.0, observation=self._board())
        return dm_env.transition(reward=-1.0, observation=self._board())

    def _board(self) -> np.ndarray:
        board = np.zeros((2, SIZE, SIZE), np.float32)
        board[0, self._player[0], self._player[1]] = 1.0
        board[1, self._treasure[0], self._treasure[1]] = 1.0
        return board


def make(seed: int) -> Treasure:
    """The factory in `--level_name`; every node calls it, with its own seed."""
    return Treasure(seed)
