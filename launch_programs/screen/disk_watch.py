"""Tells the user when the run directory is not writable, which no file in it could report."""

import os
import time
from collections.abc import Callable

from launch_programs.run.run_directory import RunDirectory, write_probe

# Seconds between checks.
_PAUSE = 5.0


class DiskWatch:
    """A follower of a run (run_follower.py) that regularly writes a small file."""

    def __init__(
        self,
        directory: RunDirectory,
        show: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        """Checks nothing yet.

        Args:
          directory: directory of the run.
          show: called with a line when the directory stops being writable, and when it is again.
          clock: returns the time in seconds.
        """
        self._directory = directory
        self._show = show
        self._clock = clock
        self._next = clock()
        self._full = False

    def update(self) -> None:
        """Checks the directory if a check is due."""
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
        """Does nothing."""
