"""Logs each failure that a run recovered from: a line in progress.log, a row in failures.csv."""

import collections
import csv
import io
import pathlib
import sys
import threading
import time
from collections.abc import Sequence

from launch_programs.run.appending import append
from launch_programs.run.run_directory import RunDirectory

# `restart`: 1 if a dead node, or all nodes, were restarted; else 0.
_COLUMNS = ["time", "node", "failure", "restart"]

# Maximum number of rows and lines that wait for room on a full disk.
_WAITING = 200


class FailureLog:
    """Appends to a run's failures.csv and progress.log; several processes may append at once.

    If the disk is full, failures are printed, and written once there is room.
    """

    def __init__(self, directory: RunDirectory):
        self._table = directory.failures
        self._progress = directory.progress
        self._lock = threading.Lock()
        self._waiting: collections.deque[tuple[pathlib.Path, bytes, bytes]] = collections.deque(
            maxlen=_WAITING
        )

    def add(self, node: str, failure: str) -> None:
        """Records a failure.

        Args:
          node: where it happened, such as "actor/3".
          failure: what happened and how it was handled, in one line.
        """
        self._add(node, failure, restart=False)

    def add_restart(self, node: str, failure: str) -> None:
        """Records that a node died and that it, or the whole program, is being restarted.

        Args:
          node: the node that died.
          failure: as for `add`.
        """
        self._add(node, failure, restart=True)

    def _add(self, node: str, failure: str, *, restart: bool) -> None:
        failure = " ".join(failure.split())  # both files are read line by line
        row = _line([round(time.time(), 3), node, failure, int(restart)])
        with self._lock:
            self._waiting.append((self._table, row, _line(_COLUMNS)))
            self._waiting.append((self._progress, f"! {node}: {failure}\n".encode(), b""))
        if not self.flush():
            print(f"{node}: {failure}", file=sys.stderr, flush=True)

    def flush(self) -> bool:
        """Writes what is waiting for room; returns whether all of it was written."""
        with self._lock:
            while self._waiting:
                try:
                    append(*self._waiting[0])
                except OSError:
                    return False
                self._waiting.popleft()
        return True


def _line(values: Sequence[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(values)
    return text.getvalue().encode(errors="replace")
