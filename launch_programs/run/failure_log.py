"""What went wrong in a run and was got over: a line of progress and a row of failures.csv each."""

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

# `restart`: 1 if a node that had died, or all nodes, were started again; else 0.
_COLUMNS = ["time", "node", "failure", "restart"]

# Rows and lines that wait for room on a full disk.
_WAITING = 200


class FailureLog:
    """Appends to a run's failures.csv and progress.log; several processes may do so at once.

    What a full disk does not take is printed, and written when there is room.
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
          failure: what happened and what became of it, in one line.
        """
        self._add(node, failure, restart=False)

    def add_restart(self, node: str, failure: str) -> None:
        """Records that a node has died and that it, or the whole program, is started again.

        Args:
          node: that died.
          failure: as for `add`.
        """
        self._add(node, failure, restart=True)

    def _add(self, node: str, failure: str, *, restart: bool) -> None:
        failure = " ".join(failure.split())  # readers of both files go by lines
        row = _line([round(time.time(), 3), node, failure, int(restart)])
        with self._lock:
            self._waiting.append((self._table, row, _line(_COLUMNS)))
            self._waiting.append((self._progress, f"! {node}: {failure}\n".encode(), b""))
        if not self.flush():
            print(f"{node}: {failure}", file=sys.stderr, flush=True)

    def flush(self) -> bool:
        """Writes what waits for room; returns whether nothing is left."""
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
