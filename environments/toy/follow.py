"""A toy task with a reward on every step: stay below the ball."""

import dm_env
import numpy as np

from environments.toy.board import COLUMNS, ROWS, BoardGame


class Follow(BoardGame):
    """Keep the paddle in the ball's column, on every step.

    Like Catch, but each of an episode's 9 steps is rewarded: +scale if, after the move, the paddle
    is in the ball's column, -scale otherwise.

    The optimal policy moves straight to the ball's column, which is uniform over the 5. From the
    middle it gets there after max(1, distance) steps, the first of which is punished only if the
    distance is 2: 2 columns in 5 give 8 - 1 = 7, the others 9. The optimal expected return is
    (2 * 7 + 3 * 9) / 5 * scale = 8.2 * scale. The ball's column is independent of a random policy,
    which is in it with probability 1/5 on every step: its expected return is
    9 * (2 / 5 - 1) * scale = -5.4 * scale.
    """

    def __init__(self, *, scale: float = 1.0, seed: int | None = None):
        """Makes the game.

        Args:
          scale: the size of each reward, positive.
          seed: seeds the ball's columns.

        Raises:
          ValueError: if `scale` is not positive.
        """
        super().__init__(scale=scale)
        self._random = np.random.default_rng(seed)
        self._ball_row: int | None = None  # None: no episode is running
        self._ball_column = 0

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode."""
        self._ball_row = 0
        self._ball_column = int(self._random.integers(COLUMNS))
        self._paddle = COLUMNS // 2
        return dm_env.restart(self._board(0, {self._ball_column: 1.0}))

    def step(self, action: int) -> dm_env.TimeStep:
        """Moves the paddle, then the ball. Starts an episode if none is running."""
        if self._ball_row is None:
            return self.reset()
        self._move(action)
        self._ball_row += 1
        board = self._board(self._ball_row, {self._ball_column: 1.0})
        reward = self._scale if self._paddle == self._ball_column else -self._scale
        if self._ball_row < ROWS - 1:
            return dm_env.transition(reward, board)
        self._ball_row = None
        return dm_env.termination(reward, board)
