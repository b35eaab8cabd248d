"""Polls the coordinator for the end of the program, in nodes that no launcher watches."""

import os
import signal
import sys
import threading
import time

import courier
from courier.python.client import StatusNotOk

from launch_programs.nodes.coordinator import ENDED_POLL
from launch_programs.nodes.ending import ORPHAN
from launch_programs.nodes.stopping import ProgramStopped, StoppableClient

# Seconds without an answer from the coordinator after which a node ends. Slightly less than the
# timeout of the node's own calls (program.py), so that it ends with a message, not a traceback.
_SILENCE = 110.0

# Timeout in seconds of one poll.
_ANSWER = 10.0


class CoordinatorWatch:
    """Asks the coordinator whether the program has ended, and stops this node when it has."""

    def __init__(self, node: str, address: str):
        """Starts polling.

        Args:
          node: name of this process's node.
          address: address of the coordinator.
        """
        self.ended = False  # the coordinator has said so
        self.lost = False  # it no longer answers
        self._node = node
        self._address = address
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="coordinator watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the watch."""
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        coordinator = StoppableClient(
            courier.Client(self._address, call_timeout=_ANSWER), self._closed
        )
        last_answer = time.monotonic()
        while not self._closed.wait(ENDED_POLL):
            try:
                self.ended = coordinator.has_ended()
            except ProgramStopped:
                return
            except StatusNotOk:
                self.lost = time.monotonic() - last_answer > _SILENCE
            else:
                last_answer = time.monotonic()
            if self.ended or self.lost:
                break
        else:
            return
        if self.lost:
            print(
                f"{self._node}: the coordinator at {self._address} has not answered for "
                f"{_SILENCE:.0f} seconds; start the program again when you know why",
                file=sys.stderr,
                flush=True,
            )
        os.kill(os.getpid(), signal.SIGTERM)
        if not self._closed.wait(ORPHAN):
            os.kill(os.getpid(), signal.SIGKILL)
