"""What happens when a node dies: it is started again, or the program ends.

An actor or the evaluator holds nothing that others need, so a new one takes its place. Without the
learner, a queue or the coordinator there is no program.
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

# Seconds in which restarts are counted against their bound.
WINDOW = 600.0

# Exit code of a node that is gone with its host.
LOST = 256

# Seconds that nodes have to end when the learner is gone: nothing is left to save.
_SHORT_NOTICE = 2.0


class NodeProcess(Protocol):
    """A node's process, wherever it is."""

    def poll(self) -> int | None:
        """Its exit code, that of a signal negative; None while it runs."""

    def output(self) -> str:
        """The last lines that it printed, or what else is known of its end."""

    def stop(self) -> None:
        """Asks it to end."""

    def kill(self) -> None:
        """Ends it."""


class ProgramFailed(Exception):
    """The program cannot continue.

    Attributes:
      node: whose fault it is, such as "learner/0".
      cause: what happened to it.
      for_good: a new start would end in the same way.
      output: the last lines that the node printed.
    """

    def __init__(self, node: str, cause: str, *, for_good: bool = False, output: str = ""):
        super().__init__(f"{node}: {cause}")
        self.node = node
        self.cause = cause
        self.for_good = for_good
        self.output = output


class RestartLimit:
    """Counts restarts, and says when there were too many in ten minutes."""

    def __init__(self, max_restarts: int):
        """Allows `max_restarts` of each name in ten minutes."""
        self._max_restarts = max_restarts
        self._times: dict[str, collections.deque[float]] = collections.defaultdict(
            collections.deque
        )

    def allow(self, name: str) -> str | None:
        """What number of how many this restart is, in words; None if it is one too many."""
        times, now = self._times[name], time.monotonic()
        while times and times[0] < now - WINDOW:
            times.popleft()
        if len(times) >= self._max_restarts:
            return None
        times.append(now)
        return f"{len(times)} of at most {self._max_restarts} in ten minutes"


def last_line(text: str) -> str:
    """The last line of `text` that is not empty."""
    lines = text.split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


class Supervisor:
    """Runs a program's nodes until it has ended."""

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
          nodes: names, such as "actor/3", in the order in which to start them.
          start: starts a node's process.
          limit: of restarts.
          report: gets the name of a node that died and what became of it.
          poll_interval: seconds between looks at the processes.
        """
        self._nodes = nodes
        self._start = start
        self._limit = limit
        self._report = report
        self._poll_interval = poll_interval
        self._processes: dict[str, NodeProcess] = {}

    def run(self, stop: threading.Event) -> bool:
        """Starts the nodes; returns when the program has ended, or was stopped in order.

        Args:
          stop: asks the program to stop. Nodes then have 11 seconds.

        Returns:
          Whether training has finished, by the coordinator's word; else `stop` came.

        Raises:
          ProgramFailed: a node died without which there is no program, or another too often, or the
            learner could not save its last checkpoint.
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
        """Whether the training has reached its end, with its last checkpoint; else `stop` came."""
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
        elif code == 0:  # a node ends so when it is asked to stop, which its launcher did not
            cause = "ended before training had, as if by SIGTERM"
        elif code < 0:
            cause = f"killed by {signal.Signals(-code).name}"
        else:
            cause = f"ended with exit code {code}, {words}"
        return ProgramFailed(node, cause, output=output)

    def _end(self) -> None:
        """Stops all processes, by force after a while."""
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
