"""What `train` follows in the run directory while the program runs."""

from collections.abc import Callable, Sequence
from typing import Protocol

from launch_programs.run.run_directory import RunDirectory
from launch_programs.screen.appended_lines import LineFollower


class Follower(Protocol):
    """Follows a run: shows it, or passes it on."""

    def update(self) -> None:
        """Takes in what has come; called several times a second."""

    def close(self) -> None:
        """Takes in the rest: the program has ended."""


class ProgressLog:
    """Hands on the lines of progress.log: how far training is, and failures."""

    def __init__(
        self,
        directory: RunDirectory,
        progress: Callable[[str], None],
        failure: Sequence[Callable[[str], None]],
    ):
        """Starts where an earlier start of the run has ended.

        Args:
          directory: of the run, before the program is started.
          progress: gets the lines of progress.
          failure: each gets the lines that tell of a failure, which begin with "!".
        """
        path = directory.progress
        self._lines = LineFollower(path, path.stat().st_size if path.exists() else 0)
        self._progress = progress
        self._failure = failure

    def update(self) -> None:
        """Hands on what has come."""
        for line in self._lines.new_lines():
            for show in self._failure if line.startswith("!") else [self._progress]:
                show(line)

    def close(self) -> None:
        """Hands on the rest."""
        self.update()
