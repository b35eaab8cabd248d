"""A toy task in which the size of a reward matters: gold and copper fall; one can be caught."""

import dm_env
import numpy as np

from environments.toy.board import COLUMNS, ROWS, BoardGame

# What an object is worth, in units of the scale, and how it is shown.
GOLD_WORTH, COPPER_WORTH = 10.0, 1.0
GOLD_SHOWN, COPPER_SHOWN = 1.0, 0.5


class Choice(BoardGame):
    """Move the paddle in the last row to where the gold comes down, not the copper.

    Gold and copper start in two different random columns of the first row and fall side by side one
    row a step; the paddle starts in the middle. The 9th step, on which they reach the last row,
    ends the episode with reward 10 * scale if the paddle is below the gold, 1 * scale below the
    copper, 0 elsewhere; all other rewards are 0. A caught object hides the paddle.

    The optimal return is 10 * scale (any column can be reached in time). Each object's column is
    uniform and independent of a random policy, which therefore catches the gold in 1/5 of the
    episodes and the copper in another 1/5: its expected return is (10 + 1) / 5 * scale = 2.2 *
    scale. An agent that sees both rewards as equal, as with clipping to [-1, 1] at scales of 1 or
    more, has no reason to prefer the gold: if it catches something in every episode, half the time
    gold, the return is 5.5 * scale.
    """

    def __init__(self, *, scale: float = 1.0, seed: int | None = None):
        """Makes the game.

        Args:
          scale: multiplies the rewards; positive.
          seed: seeds the objects' columns.

        Raises:
          ValueError: if `scale` is not positive.
        """
        super().__init__(scale=scale)
        self._random = np.random.default_rng(seed)
        self._row: int | None = None  # of both objects; None: no episode is running
        self._gold = 0  # columns
        self._copper = 0

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode."""
        self._row = 0
        self._gold, self._copper = map(int, self._random.permutation(COLUMNS)[:2])
        self._paddle = COLUMNS // 2
        return dm_env.restart(self._shown(0))

    def step(self, action: int) -> dm_env.TimeStep:
        """Moves the paddle, then the objects. Starts an episode if none is running."""
        if self._row is None:
            return self.reset()
        self._move(action)
        self._row += 1
        board = self._shown(self._row)
        if self._row < ROWS - 1:
            return dm_env.transition(reward=0.0, observation=board)
        self._row = None
        worth = {self._gold: GOLD_WORTH, self._copper: COPPER_WORTH}.get(self._paddle, 0.0)
        return dm_env.termination(self._scale * worth, board)

    def _shown(self, row: int) -> np.ndarray:
        return self._board(row, {self._gold: GOLD_SHOWN, self._copper: COPPER_SHOWN})
