"""The warnings and errors among what a program's nodes print, for the user's screen.

Nodes print into files of the run directory (logs/actor/3). What libraries say there without trouble
is not shown: nodes run with it turned off (process_environments.py, and absl's level in nodes.py),
and what cannot be turned off has no severity, but for `_NOISE`.
"""

import collections
import re
import time
from collections.abc import Callable, Iterator

from launch_programs.run.run_directory import RunDirectory
from launch_programs.screen.appended_lines import LineFollower

# Characters of a message that are shown.
_SHOWN = 400

# New messages that are shown in a minute, and different ones that are counted.
_PER_MINUTE = 30
_COUNTED = 1000

# Seconds that a traceback is held back. A node that died is told of by its supervisor, within
# seconds; that says the same and more.
_HOLD = 3.0

# What a warning or an error looks like. `place`: what says it, "file.py:12" or the
# name of a logger.
_FORMATS = [
    re.compile(pattern)
    for pattern in (
        # absl and glog, in Python and C++.
        r"(?P<severity>[WEF])\d{4} [\d:.]+\s+\d+ (?P<place>\S+:\d+)\] (?P<text>.*)",
        # TensorFlow and XLA.
        r"\d{4}-\d\d-\d\d [\d:.]+: (?P<severity>[WEF]) (?P<place>\S+:\d+)\] (?P<text>.*)",
        # Ray, in C++ and Python.
        r"\[\d{4}-\d\d-\d\d \S+ (?P<severity>[WECF]) \d+ \d+\] (?P<text>.*)",
        r"\d{4}-\d\d-\d\d [\d:,]+\s(?P<severity>WARNING|ERROR|CRITICAL) (?P<text>.*)",
        # Python's warnings and its logging; other programs.
        r"(?:(?P<place>\S.*:\d+): )?(?P<severity>\w*Warning): (?P<text>.*)",
        r"(?P<severity>WARNING|ERROR|CRITICAL):(?P<place>[\w.]+):(?P<text>.*)",
        r"(?P<severity>(?i:warning|error|critical|fatal)):\s*(?P<text>\S.*)",
    )
]
_SEVERITIES = {"W": "warning", "E": "error", "F": "fatal", "C": "critical"}

# Launchpad says so on every stop of a node that does not hear of it in time: it is ended, as it was
# asked for.
_NOISE = ("Worker groups that did not terminate in time: ", "Killing entire runtime.")

_TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION = re.compile(r"(?=\w*[a-z])[\w.]+(: |$)")  # no severity of a log, which is in capitals
_CHAINED = re.compile("During handling of the above exception|The above exception was the direct")

# Of terminals: colours and the like.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b.")


class Parser:
    """Finds warnings, errors and exceptions among the lines that one node prints."""

    def __init__(self) -> None:
        self._in_traceback = False

    def parse(self, line: str) -> "str | Raised | None":
        """What is to be said of a line: a message, an exception that ends a traceback, or nothing.

        Args:
          line: as printed.
        """
        line = _clean(line)
        if line == _TRACEBACK:
            self._in_traceback = True
            return None
        if self._in_traceback:
            if line.startswith(" ") or not line:
                return None
            if _EXCEPTION.match(line):
                self._in_traceback = False
                return Raised(line)
            # Another thread's line, printed in between.
        if _CHAINED.match(line):
            return Raised("")
        for form in _FORMATS:
            if match := form.match(line):
                found = match.groupdict()
                if found["text"].startswith(_NOISE):
                    return None
                severity = found["severity"]
                if severity.isupper():
                    severity = _SEVERITIES.get(severity, severity.lower())
                place = "/".join((found.get("place") or "").split("/")[-2:])
                return f"{severity}: {found['text']}" + (f" ({place})" if place else "")
        return None


class Raised(str):
    """The last line of a traceback, "ValueError: ...".

    Empty: the last exception led to another, whose traceback follows.
    """


class NodeOutput:
    """Shows what nodes warn of, each thing once and then how often it came."""

    def __init__(
        self,
        directory: RunDirectory,
        show: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        """Starts where the files of an earlier start of the run end.

        Args:
          directory: of the run, before the program is started.
          show: gets each message, in one line that begins with the node.
          clock: seconds.
        """
        self._directory = directory
        self._show = show
        self._clock = clock
        self._files: dict[str, tuple[LineFollower, Parser]] = {}
        for name in self._names():
            path = directory.logs / name
            # The launcher's is rewritten by each start.
            start = 0 if path == directory.launcher_log else path.stat().st_size
            self._files[name] = LineFollower(path, start), Parser()
        self._counts: dict[str, _Count] = {}
        self._held: dict[str, tuple[float, str]] = {}  # node -> when and what it raised
        self._told: collections.deque[str] = collections.deque(maxlen=50)
        self._minute = clock()
        self._shown = self._left_out = 0

    def told(self, failure: str) -> None:
        """Notes a failure that the user has been told of: its exception is not news."""
        self._told.append(" ".join(failure.split()))

    def update(self) -> None:
        """Shows what has come."""
        self._take(last=False)
        for node, (until, _) in list(self._held.items()):
            if self._clock() >= until:
                self._release(node)
        if self._clock() >= self._minute + 60.0:
            self._end_minute()

    def close(self) -> None:
        """Shows the rest, and how often what came again did."""
        self._take(last=True)
        for node in list(self._held):
            self._release(node)
        for count in self._counts.values():
            if count.times > count.told:
                self._show_within_bounds(f"{count.text} ({count.times:,} times)")
        self._end_minute()

    def _names(self) -> list[str]:
        logs = self._directory.logs
        # What is in PATH.old was read when it was PATH (output_log.py).
        paths = [path for path in logs.rglob("*") if path.suffix != ".old" and path.is_file()]
        return sorted(str(path.relative_to(logs)) for path in paths)

    def _new(self, last: bool) -> Iterator[tuple[str, str]]:
        for name in self._names():
            if name not in self._files:
                self._files[name] = LineFollower(self._directory.logs / name), Parser()
            lines, parser = self._files[name]
            for line in lines.new_lines(last):
                if (found := parser.parse(line)) is not None:
                    yield name, found

    def _take(self, last: bool) -> None:
        for node, found in self._new(last):
            if not isinstance(found, Raised):
                self._count(node, found)
            elif not found:
                self._held.pop(node, None)
            else:
                self._release(node)
                self._held[node] = self._clock() + _HOLD, found

    def _release(self, node: str) -> None:
        """Shows what a node has raised, unless the user knows of it."""
        held = self._held.pop(node, None)
        if held is None:
            return
        exception = " ".join(held[1].split())
        if not any(exception in failure for failure in self._told):
            self._count(node, exception)

    def _count(self, node: str, text: str) -> None:
        # Numbers differ where a warning comes again.
        key = re.sub(r"\d+", "0", text)
        text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        count = self._counts.get(key)
        if count is None:
            if len(self._counts) >= _COUNTED:
                self._left_out += 1
                return
            count = self._counts[key] = _Count(f"{node}: {text}")
        count.times += 1
        if count.times == 1:
            self._show_within_bounds(count.text)
        elif count.times == 10 * count.told:
            self._show_within_bounds(f"{count.text} ({count.times:,} times)")
        else:
            return
        count.told = count.times

    def _show_within_bounds(self, message: str) -> None:
        if self._shown >= _PER_MINUTE:
            self._left_out += 1
            return
        self._shown += 1
        self._show(message)

    def _end_minute(self) -> None:
        if self._left_out:
            self._show(f"{self._left_out:,} more warnings are in {self._directory.logs}")
        self._minute, self._shown, self._left_out = self._clock(), 0, 0


class _Count:
    """How often something was said."""

    def __init__(self, text: str):
        self.text = text  # as it came first
        self.times = 0
        self.told = 0  # how often as the user was told last


def _clean(line: str) -> str:
    """A line as a terminal would show it, without what would change the user's terminal."""
    line = _ESCAPES.sub("", line.rstrip("\r")).rpartition("\r")[2]
    return "".join(c if c.isprintable() else " " for c in line).rstrip()
