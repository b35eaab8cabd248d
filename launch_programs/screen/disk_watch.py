"""Tells the user of a run directory that cannot be written, in which nothing could say so."""

import os
import time
from collections.abc import Callable

from launch_programs.run.run_directory import RunDirectory, write_probe

# Seconds between looks.
_PAUSE = 5.0


class DiskWatch:
    """A follower of a run (following.py) that writes a small file again and again."""

    def __init__(
        self,
        directory: RunDirectory,
        show: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        """Has not looked yet.

        Args:
          directory: of the run.
          show: gets a line when it cannot be written any more, and when it can again.
          clock: seconds.
        """
        self._directory = directory
        self._show = show
        self._clock = clock
        self._next = clock()
        self._full = False

    def update(self) -> None:
        """Looks, if it is time to."""
        if self._clock() < self._next:
            return
        self._next = self._clock() + _PAUSE
        try:
            write_probe(self._directory.path)
        except OSError as error:
            if not self._full:
                self._show(
                    f"! {self._directory.path} cannot be written: {os.strerror(error.errno or 0)}; "
                    "training continues; metrics, logs and checkpoints pause until it can"
                )
            self._full = True
        else:
            if self._full:
                self._show(f"! {self._directory.path} can be written again")
            self._full = False

    def close(self) -> None:
        """Nothing more to tell."""
