"""Where training shows how it goes: a display on a terminal, or lines."""

import sys
import time
from collections.abc import Callable
from typing import Protocol

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from launch_programs.run.training_status import TrainingStatus
from launch_programs.screen.display import render

# Plain lines of progress become rarer: the next comes when this share of the time so far has gone
# by since the last, but at the latest after ten minutes.
_SHARE = 1 / 3
_RAREST = 600.0

_REDRAW_SECONDS = 1.0


class Screen(Protocol):
    """Shows how training goes."""

    def message(self, text: str) -> None:
        """Shows a line that stays: a failure, or what a node warns of."""

    def progress(self, line: str) -> None:
        """Shows, or not, a line of progress."""

    def update(self) -> None:
        """Shows the present state."""

    def close(self) -> None:
        """Shows the last state, and leaves the terminal as it was."""


def open_screen(status: TrainingStatus, path: str, *, quiet: bool) -> Screen:
    """The screen that standard output is good for.

    Args:
      status: what is shown; the caller keeps it up to date.
      path: of the run directory.
      quiet: no progress, only messages.
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
        """Prints it."""
        print(text, flush=True)

    def progress(self, line: str) -> None:
        """Prints nothing."""

    def update(self) -> None:
        """Prints nothing."""

    def close(self) -> None:
        """Prints nothing."""


class PlainScreen(QuietScreen):
    """Prints messages, and lines of progress as they come, but rarer and rarer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        """Begins to count time.

        Args:
          clock: seconds.
        """
        self._clock = clock
        self._start = self._printed = clock()
        self._first = True
        self._waiting: str | None = None

    def progress(self, line: str) -> None:
        """Prints a line of progress if it is time for one."""
        now = self._clock()
        pause = min(_RAREST, (self._printed - self._start) * _SHARE)
        if self._first or now >= self._printed + pause:
            self._first = False
            self._printed, self._waiting = now, None
            print(line, flush=True)
        else:
            self._waiting = line

    def close(self) -> None:
        """Prints the last line of progress if that has not been done."""
        if self._waiting is not None:
            print(self._waiting, flush=True)
            self._waiting = None


class LiveScreen:
    """Draws the state at the bottom of the terminal, in place, with messages above it."""

    def __init__(self, console: Console, status: TrainingStatus, path: str):
        """Draws nothing yet.

        Args:
          console: a terminal.
          status: what is drawn.
          path: of the run directory.
        """
        self._console = console
        self._status = status
        self._path = path
        self._size = console.size
        self._next = 0.0  # when to draw
        self._live = Live(self, console=console, auto_refresh=False)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield render(self._status, self._path, options.max_width, console.height)

    def message(self, text: str) -> None:
        """Prints it above."""
        self._console.print(Text(text, style="red" if text.startswith("!") else "yellow"))

    def progress(self, line: str) -> None:
        """Prints nothing: the display has it all."""

    def update(self) -> None:
        """Draws the present state, every second and when the terminal's size changes.

        Hides the cursor, until `close`.
        """
        size = self._console.size
        if time.monotonic() < self._next and size == self._size:
            return
        self._next = time.monotonic() + _REDRAW_SECONDS
        if size.width < self._size.width:
            # The terminal has broken the lines that stand there into more: where the display
            # begins is not known any more.
            self._console.clear()
        self._size = size
        self._live.start()
        self._live.refresh()

    def close(self) -> None:
        """Draws the last state, which stays, and shows the cursor."""
        self._next = 0.0
        self.update()
        self._live.stop()
