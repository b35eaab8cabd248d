"""What went wrong in a run and was got over: a line of progress and a row of failures.csv each."""

import csv
import fcntl
import time

from launch_programs.run_directory import RunDirectory

_COLUMNS = ["time", "node", "failure"]


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
        with self._table.open("a", newline="") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            writer = csv.writer(file)
            if file.tell() == 0:
                writer.writerow(_COLUMNS)
            writer.writerow([round(time.time(), 3), node, failure])
        with self._progress.open("a") as progress:
            progress.write(f"! {node}: {failure}\n")
