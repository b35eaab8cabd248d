"""Handles the death of a node: restarts it, or ends the program.

An actor or the evaluator holds nothing that others need, so a new one takes its place. Without the
learner, a queue or the coordinator the program cannot continue.
"""

import collections
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from launch_programs.nodes.ending import FINISHED, GIVEN_UP, NOTICE
from launch_programs.nodes.groups import GROUPS

_LEARNER = "learner/0"

# Seconds over which restarts are counted against their limit.
WINDOW = 600.0

# Exit code of a node that was lost with its host.
LOST = 256

# Seconds that nodes get to stop once the learner is gone; there is nothing left to save.
_SHORT_NOTICE = 2.0


class NodeProcess(Protocol):
    """A node's process, wherever it is."""

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""

    def output(self) -> str:
        """The last lines of output, or whatever else is known about its end."""

    def stop(self) -> None:
        """Asks the process to end."""

    def kill(self) -> None:
        """Kills the process."""


class ProgramFailed(Exception):
    """The program cannot continue.

    Attributes:
      node: the node at fault, such as "learner/0".
      cause: what happened to the node.
      for_good: whether a restart would end the same way.
      output: the last lines of the node's output.
    """

    def __init__(self, node: str, cause: str, *, for_good: bool = False, output: str = ""):
        super().__init__(f"{node}: {cause}")
        self.node = node
        self.cause = cause
        self.for_good = for_good
        self.output = output


class RestartLimit:
    """Counts restarts and limits them per ten minutes."""

    def __init__(self, max_restarts: int):
        """Allows `max_restarts` of each name in ten minutes."""
        self._max_restarts = max_restarts
        self._times: dict[str, collections.deque[float]] = collections.defaultdict(
            collections.deque
        )

    def allow(self, name: str) -> str | None:
        """Counts a restart; returns its number and the limit in words, None if over the limit."""
        times, now = self._times[name], time.monotonic()
        while times and times[0] < now - WINDOW:
            times.popleft()
        if len(times) >= self._max_restarts:
            return None
        times.append(now)
        return f"{len(times)} of at most {self._max_restarts} in ten minutes"


def last_line(text: str) -> str:
    """The last non-empty line of `text`."""
    lines = text.split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


class Supervisor:
    """Runs a program's nodes until the program ends."""

    def __init__(
        self,
        nodes: Sequence[str],
        start: Callable[[str], NodeProcess],
        limit: RestartLimit,
        report: Callable[[str, str], None],
        poll_interval: float = 0.1,
    ):
        """Starts nothing.

        Args:
          nodes: names, such as "actor/3", in starting order.
          start: starts a node's process.
          limit: limit on restarts.
          report: called with the name of a node that died, and how that was handled.
          poll_interval: seconds between polls of the processes.
        """
        self._nodes = nodes
        self._start = start
        self._limit = limit
        self._report = report
        self._poll_interval = poll_interval
        self._processes: dict[str, NodeProcess] = {}

    def run(self, stop: threading.Event) -> bool:
        """Starts the nodes; returns when the program has ended or was stopped cleanly.

        Args:
          stop: asks the program to stop. Nodes then have 11 seconds.

        Returns:
          Whether training has finished, as the coordinator reports; otherwise `stop` was set.

        Raises:
          ProgramFailed: an irreplaceable node died, another node died too often, or the learner
            could not save its last checkpoint.
        """
        try:
            for node in self._nodes:
                self._processes[node] = self._start(node)
            finished = self._watch(stop)
        finally:
            self._end()
        code = self._processes[_LEARNER].poll()
        if not finished and code != 0:
            raise self._failure(_LEARNER, code)
        return finished

    def _watch(self, stop: threading.Event) -> bool:
        """Whether training reached its end and saved its last checkpoint; else `stop` was set."""
        while not stop.wait(self._poll_interval):
            for node, process in list(self._processes.items()):
                code = process.poll()
                if code is None:
                    continue
                group = node.split("/")[0]
                if group == "coordinator" and code == FINISHED:
                    return True
                if not GROUPS[group].replaceable:
                    raise self._failure(node, code)
                self._replace(node, code)
        return False

    def _replace(self, node: str, code: int) -> None:
        failure = self._failure(node, code)
        cause = failure.cause
        count = self._limit.allow(node)
        if count is None:
            raise ProgramFailed(
                node, f"{cause}; it has died too often", for_good=True, output=failure.output
            )
        self._report(node, f"{cause}; started again ({count})")
        self._processes[node] = self._start(node)

    def _failure(self, node: str, code: int | None) -> ProgramFailed:
        output = self._processes[node].output()
        words = last_line(output)
        if code == GIVEN_UP:
            return ProgramFailed(node, words, for_good=True, output=output)
        if code is None:
            cause = "did not end in time"
        elif code == LOST:
            cause = words
        elif code == 0:  # nodes exit like this when asked to stop, but the launcher did not ask
            cause = "ended before training had, as if by SIGTERM"
        elif code < 0:
            cause = f"killed by {signal.Signals(-code).name}"
        else:
            cause = f"ended with exit code {code}, {words}"
        return ProgramFailed(node, cause, output=output)

    def _end(self) -> None:
        """Stops all processes, killing those left after a grace period."""
        running = [p for p in self._processes.values() if p.poll() is None]
        for process in running:
            process.stop()
        learner = self._processes.get(_LEARNER)
        notice = NOTICE if learner in running else _SHORT_NOTICE
        deadline = time.monotonic() + notice
        while running and time.monotonic() < deadline:
            time.sleep(self._poll_interval)
            running = [process for process in running if process.poll() is None]
        for process in running:
            process.kill()
