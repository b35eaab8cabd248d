"""A toy task whose only reward random play rarely reaches: catch several balls in a row."""

import dm_env
import numpy as np

from environments.toy.board import COLUMNS, ROWS, BoardGame


class Streak(BoardGame):
    """Catch three balls in a row; there is no reward before that.

    Balls fall as in Catch, one after another, each from a random column; the paddle starts in the
    middle and stays where it is between balls. A missed ball ends the episode with reward 0, the
    third caught ball with reward +scale; all other rewards are 0. An episode has 9, 18 or 27 steps.
    The number of balls caught is not shown; the best action does not depend on it.

    The optimal return is +scale (any column can be reached in time, from any other). Each ball's
    column is uniform and independent of a random policy and of what came before, so such a policy
    catches each ball with probability 1/5, and three in a row with 1/125: its expected return is
    0.008 * scale.
    """

    BALLS = 3

    def __init__(self, *, scale: float = 1.0, seed: int | None = None):
        """Makes the game.

        Args:
          scale: the reward, positive.
          seed: seeds the balls' columns.

        Raises:
          ValueError: if `scale` is not positive.
        """
        super().__init__(scale=scale)
        self._random = np.random.default_rng(seed)
        self._ball_row: int | None = None  # None: no episode is running
        self._ball_column = 0
        self._caught = 0

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode."""
        self._paddle = COLUMNS // 2
        self._caught = 0
        self._drop()
        return dm_env.restart(self._shown())

    def step(self, action: int) -> dm_env.TimeStep:
        """Moves the paddle, then the ball. Starts an episode if none is running."""
        if self._ball_row is None:
            return self.reset()
        self._move(action)
        self._ball_row += 1
        if self._ball_row < ROWS - 1:
            return dm_env.transition(0.0, self._shown())
        caught = self._paddle == self._ball_column
        self._caught += caught
        if caught and self._caught < self.BALLS:
            self._drop()  # the next ball takes the caught one's place
            return dm_env.transition(0.0, self._shown())
        board = self._shown()
        self._ball_row = None
        return dm_env.termination(self._scale if caught else 0.0, board)

    def _drop(self) -> None:
        self._ball_row = 0
        self._ball_column = int(self._random.integers(COLUMNS))

    def _shown(self) -> np.ndarray:
        assert self._ball_row is not None  # while an episode runs
        return self._board(self._ball_row, {self._ball_column: 1.0})
