"""What all toy tasks share: the board they show, the actions they take, the paddle they move."""

from collections.abc import Mapping

import dm_env
import numpy as np
from dm_env import specs

ROWS, COLUMNS = 10, 5

# What an action number means, unless a task says otherwise.
LEFT, STAY, RIGHT = 0, 1, 2
MOVES = ("left", "stay", "right")


class BoardGame(dm_env.Environment):
    """A game on a board with a paddle in the last row.

    Attributes:
      action_names: what actions 0, 1 and 2 do.
    """

    action_names: tuple[str, ...] = MOVES

    def __init__(self, *, scale: float, rows: int = ROWS, columns: int = COLUMNS):
        """Sets what the specs need.

        Args:
          scale: multiplies the rewards; positive.
          rows: height of the board.
          columns: width of the board.

        Raises:
          ValueError: if `scale` is not positive.
        """
        if not scale > 0:
            raise ValueError(f"scale is {scale}; it must be positive")
        self._scale = scale
        self._rows = rows
        self._columns = columns
        self._paddle = 0  # its column

    def observation_spec(self) -> specs.BoundedArray:
        """The board, float32 [rows, columns]: paddle 1, objects as shown, 0 elsewhere."""
        return specs.BoundedArray((self._rows, self._columns), np.float32, 0.0, 1.0, "board")

    def action_spec(self) -> specs.DiscreteArray:
        """LEFT, STAY and RIGHT, in this order unless the game says otherwise."""
        return specs.DiscreteArray(3, dtype=np.int32, name="action")

    def _move(self, action: int) -> None:
        """Moves the paddle by LEFT, STAY or RIGHT; it stops at the walls."""
        self._paddle = min(max(self._paddle + int(action) - STAY, 0), self._columns - 1)

    def _board(self, row: int, objects: Mapping[int, float]) -> np.ndarray:
        """Draws the paddle, and over it the objects in one row: columns and their shown values."""
        board = np.zeros((self._rows, self._columns), np.float32)
        board[-1, self._paddle] = 1.0
        for column, shown in objects.items():
            board[row, column] = shown
        return board
