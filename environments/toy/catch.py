"""A toy task that is learned in a minute: catch the falling ball."""

from collections.abc import Sequence

import dm_env
import numpy as np

from environments.toy.board import COLUMNS, LEFT, MOVES, RIGHT, ROWS, STAY, BoardGame


class Catch(BoardGame):
    """Move the paddle in the last row to where the ball comes down.

    The ball starts in a random column of the first row and falls one row a step; the paddle starts
    in the middle. The step on which the ball reaches the last row ends the episode with reward
    +scale if the paddle is there, -scale if not; all other rewards are 0. With the default board an
    episode has 9 steps.

    The optimal return is +scale (any column can be reached in time). The ball's column is uniform
    and independent of a random policy, so wherever such a policy ends, it catches one ball in
    `columns`: its expected return is scale * (2 / columns - 1), which is -0.6 * scale for 5
    columns. Neither depends on what the actions mean.
    """

    def __init__(
        self,
        *,
        scale: float = 1.0,
        rows: int = ROWS,
        columns: int = COLUMNS,
        meanings: Sequence[int] = (LEFT, STAY, RIGHT),
        seed: int | None = None,
    ):
        """Makes the game.

        Args:
          scale: the reward for a catch, positive.
          rows: height of the board, at least 2.
          columns: width of the board.
          meanings: what actions 0, 1 and 2 do: LEFT, STAY and RIGHT in any order. Games that differ
            only in this look the same and conflict.
          seed: seeds the ball's columns.

        Raises:
          ValueError: if `scale` is not positive, if the ball comes down before the paddle can get
            there, or if `meanings` are not the three moves.
        """
        super().__init__(scale=scale, rows=rows, columns=columns)
        if columns < 1 or rows - 1 < max(1, columns // 2):
            raise ValueError(
                f"a board of {rows} rows and {columns} columns is too low: the paddle needs "
                f"up to {columns // 2} steps, and the ball falls for {rows - 1}"
            )
        if sorted(meanings) != [LEFT, STAY, RIGHT]:
            raise ValueError(f"meanings are {meanings}; they must be 0, 1 and 2 in some order")
        self._meanings = tuple(meanings)
        self.action_names = tuple(MOVES[meaning] for meaning in meanings)
        self._random = np.random.default_rng(seed)
        self._ball_row: int | None = None  # None: no episode is running
        self._ball_column = 0

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode."""
        self._ball_row = 0
        self._ball_column = int(self._random.integers(self._columns))
        self._paddle = self._columns // 2
        return dm_env.restart(self._board(0, {self._ball_column: 1.0}))

    def step(self, action: int) -> dm_env.TimeStep:
        """Moves the paddle, then the ball. Starts an episode if none is running."""
        if self._ball_row is None:
            return self.reset()
        self._move(self._meanings[int(action)])
        self._ball_row += 1
        board = self._board(self._ball_row, {self._ball_column: 1.0})
        if self._ball_row < self._rows - 1:
            return dm_env.transition(reward=0.0, observation=board)
        self._ball_row = None
        caught = self._paddle == self._ball_column
        return dm_env.termination(self._scale if caught else -self._scale, board)
