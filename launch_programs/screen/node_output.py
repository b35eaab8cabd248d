"""Finds warnings and errors in the output of a program's nodes, for the user's screen.

Nodes print into files of the run directory (logs/actor/3). Libraries' routine output is not shown:
nodes turn it off (process_environments.py, and absl's level in nodes.py), and what cannot be turned
off has no severity, except for `_NOISE`.
"""

import collections
import re
import time
from collections.abc import Callable, Iterator

from launch_programs.run.run_directory import RunDirectory
from launch_programs.screen.appended_lines import LineFollower

# Maximum characters shown of a message.
_SHOWN = 400

# Maximum number of messages shown per minute, and of distinct messages counted.
_PER_MINUTE = 30
_COUNTED = 1000

# Seconds that an exception is held back. If its node died, the supervisor reports that within
# seconds, with the same information and more.
_HOLD = 3.0

# Formats of warnings and errors. `place` is their origin: "file.py:12" or the name of a logger.
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

# Launchpad prints these whenever a node does not react to a stop in time; it then kills the node,
# as requested.
_NOISE = ("Worker groups that did not terminate in time: ", "Killing entire runtime.")

_TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION = re.compile(r"(?=\w*[a-z])[\w.]+(: |$)")  # a log severity would be all capitals
_CHAINED = re.compile("During handling of the above exception|The above exception was the direct")

# Terminal escape sequences: colours and the like.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b.")


class Parser:
    """Finds warnings, errors and exceptions among the lines that one node prints."""

    def __init__(self) -> None:
        self._in_traceback = False

    def parse(self, line: str) -> "str | Raised | None":
        """What to report of a line: a message, an exception that ends a traceback, or None.

        Args:
          line: the line as printed.
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
            # Another thread's line, printed in the middle of the traceback.
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

    Empty if the previous exception led to another, whose traceback follows.
    """


class NodeOutput:
    """Shows each of the nodes' warnings once, and later how often it was repeated."""

    def __init__(
        self,
        directory: RunDirectory,
        show: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        """Begins at the present ends of the files, which are from earlier starts of the run.

        Args:
          directory: directory of the run, before the program is started.
          show: called with each message, as one line that begins with the node.
          clock: returns the time in seconds.
        """
        self._directory = directory
        self._show = show
        self._clock = clock
        self._files: dict[str, tuple[LineFollower, Parser]] = {}
        for name in self._names():
            path = directory.logs / name
            # Each start overwrites the launcher's log.
            start = 0 if path == directory.launcher_log else path.stat().st_size
            self._files[name] = LineFollower(path, start), Parser()
        self._counts: dict[str, _Count] = {}
        self._held: dict[str, tuple[float, str]] = {}  # node -> until when, and what it raised
        self._told: collections.deque[str] = collections.deque(maxlen=50)
        self._minute = clock()
        self._shown = self._left_out = 0

    def told(self, failure: str) -> None:
        """Notes a failure that the user has been told about, so that its exception is not shown."""
        self._told.append(" ".join(failure.split()))

    def update(self) -> None:
        """Shows new messages."""
        self._take(last=False)
        for node, (until, _) in list(self._held.items()):
            if self._clock() >= until:
                self._release(node)
        if self._clock() >= self._minute + 60.0:
            self._end_minute()

    def close(self) -> None:
        """Shows the remaining messages, and the counts of repeated ones."""
        self._take(last=True)
        for node in list(self._held):
            self._release(node)
        for count in self._counts.values():
            if count.times > count.told:
                self._show_within_bounds(f"{count.text} ({count.times:,} times)")
        self._end_minute()

    def _names(self) -> list[str]:
        logs = self._directory.logs
        # The contents of PATH.old were read when it was still PATH (output_log.py).
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
        """Shows the exception that a node raised, unless the user knows about it."""
        held = self._held.pop(node, None)
        if held is None:
            return
        exception = " ".join(held[1].split())
        if not any(exception in failure for failure in self._told):
            self._count(node, exception)

    def _count(self, node: str, text: str) -> None:
        # Repeated warnings differ only in their numbers.
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
    """Counts how often a message was printed."""

    def __init__(self, text: str):
        self.text = text  # of the first occurrence
        self.times = 0
        self.told = 0  # the count last shown to the user


def _clean(line: str) -> str:
    """A line as a terminal would show it, without what could alter the user's terminal."""
    line = _ESCAPES.sub("", line.rstrip("\r")).rpartition("\r")[2]
    return "".join(c if c.isprintable() else " " for c in line).rstrip()
