"""Follows the run directory for `train` while the program runs."""

from collections.abc import Callable, Sequence
from typing import Protocol

from launch_programs.run.run_directory import RunDirectory
from launch_programs.screen.appended_lines import LineFollower


class Follower(Protocol):
    """Follows a run, to show it or pass it on."""

    def update(self) -> None:
        """Handles what is new; called several times a second."""

    def close(self) -> None:
        """Handles the rest, after the program has ended."""


class ProgressLog:
    """Passes on the lines of progress.log: progress and failures."""

    def __init__(
        self,
        directory: RunDirectory,
        progress: Callable[[str], None],
        failure: Sequence[Callable[[str], None]],
    ):
        """Begins at the present end of the file, which is from earlier starts of the run.

        Args:
          directory: directory of the run, before the program is started.
          progress: called with each line of progress.
          failure: each is called with each line about a failure; these begin with "!".
        """
        path = directory.progress
        self._lines = LineFollower(path, path.stat().st_size if path.exists() else 0)
        self._progress = progress
        self._failure = failure

    def update(self) -> None:
        """Passes on new lines."""
        for line in self._lines.new_lines():
            for show in self._failure if line.startswith("!") else [self._progress]:
                show(line)

    def close(self) -> None:
        """Passes on the rest."""
        self.update()
