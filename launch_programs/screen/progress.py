"""Shows training progress: a live display on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import Protocol

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from launch_programs.run.training_status import TrainingStatus
from launch_programs.screen.display import render

# Plain progress lines become rarer: after one, the next waits for this fraction of the time elapsed
# before it, but for ten minutes at most.
_SHARE = 1 / 3
_RAREST = 600.0

_REDRAW_SECONDS = 1.0


class Screen(Protocol):
    """Shows training progress."""

    def message(self, text: str) -> None:
        """Shows a line that stays: a failure, or a node's warning."""

    def progress(self, line: str) -> None:
        """Shows a line of progress; some screens drop it."""

    def update(self) -> None:
        """Shows the current state."""

    def close(self) -> None:
        """Shows the final state and restores the terminal."""


def open_screen(status: TrainingStatus, path: str, *, quiet: bool) -> Screen:
    """Returns the screen that suits standard output.

    Args:
      status: the status to show; the caller keeps it up to date.
      path: path of the run directory.
      quiet: show no progress, only messages.
    """
    if quiet:
        return QuietScreen()
    console = Console(file=sys.stdout)
    if sys.stdout.isatty() and not console.is_dumb_terminal:
        return LiveScreen(console, status, path)
    return PlainScreen()


class QuietScreen:
    """Prints messages only."""

    def message(self, text: str) -> None:
        """Prints the message."""
        print(text, flush=True)

    def progress(self, line: str) -> None:
        """Prints nothing."""

    def update(self) -> None:
        """Prints nothing."""

    def close(self) -> None:
        """Prints nothing."""


class PlainScreen(QuietScreen):
    """Prints messages, and lines of progress at growing intervals."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        """Starts the clock.

        Args:
          clock: returns the time in seconds.
        """
        self._clock = clock
        self._start = self._printed = clock()
        self._first = True
        self._waiting: str | None = None

    def progress(self, line: str) -> None:
        """Prints a line of progress if one is due."""
        now = self._clock()
        pause = min(_RAREST, (self._printed - self._start) * _SHARE)
        if self._first or now >= self._printed + pause:
            self._first = False
            self._printed, self._waiting = now, None
            print(line, flush=True)
        else:
            self._waiting = line

    def close(self) -> None:
        """Prints the last line of progress if it was held back."""
        if self._waiting is not None:
            print(self._waiting, flush=True)
            self._waiting = None


class LiveScreen:
    """Redraws the state in place at the bottom of the terminal, with messages above it."""

    def __init__(self, console: Console, status: TrainingStatus, path: str):
        """Draws nothing yet.

        Args:
          console: a terminal.
          status: the status to draw.
          path: path of the run directory.
        """
        self._console = console
        self._status = status
        self._path = path
        self._size = console.size
        self._next = 0.0  # time of the next redraw
        self._live = Live(self, console=console, auto_refresh=False)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield render(self._status, self._path, options.max_width, console.height)

    def message(self, text: str) -> None:
        """Prints the message above the display."""
        self._console.print(Text(text, style="red" if text.startswith("!") else "yellow"))

    def progress(self, line: str) -> None:
        """Prints nothing, since the display shows it all."""

    def update(self) -> None:
        """Draws the current state, every second and when the terminal's size changes.

        Hides the cursor until `close`.
        """
        size = self._console.size
        if time.monotonic() < self._next and size == self._size:
            return
        self._next = time.monotonic() + _REDRAW_SECONDS
        if size.width < self._size.width:
            # The terminal has wrapped the lines on screen, so it is no longer known where the
            # display begins.
            self._console.clear()
        self._size = size
        self._live.start()
        self._live.refresh()

    def close(self) -> None:
        """Draws the final state, which stays, and shows the cursor."""
        self._next = 0.0
        self.update()
        self._live.stop()
