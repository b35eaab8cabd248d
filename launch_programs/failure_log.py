"""What went wrong in a run and was got over: a line of progress and a row of failures.csv each."""

import csv
import fcntl
import time

from launch_programs.run_directory import RunDirectory

# `restart`: 1 if a node that had died, or all nodes, were started again; else 0.
_COLUMNS = ["time", "node", "failure", "restart"]


class FailureLog:
    """Appends to a run's failures.csv and progress.log; several processes may do so at once."""

    def __init__(self, directory: RunDirectory):
        """Writes nothing yet."""
        self._table = directory.failures
        self._progress = directory.progress

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
        with self._table.open("a", newline="") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            writer = csv.writer(file)
            if file.tell() == 0:
                writer.writerow(_COLUMNS)
            writer.writerow([round(time.time(), 3), node, failure, int(restart)])
        with self._progress.open("a") as progress:
            progress.write(f"! {node}: {failure}\n")
