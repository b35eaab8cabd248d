"""Lets nodes notice that the program is stopping, wherever they are waiting."""

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

from launch_programs.nodes.ending import GRACE

# Seconds between checks for a stop request while waiting.
_POLL_SECONDS = 0.2


class ProgramStopped(Exception):
    """The program was asked to stop while a node was in the middle of something."""


class StoppableClient:
    """A Courier client whose calls give up when the program stops.

    A plain Courier call to a peer that is gone waits for it to return until the call times out.
    """

    def __init__(self, client: Any, stop: threading.Event):
        """Wraps `client`; `stop` is set when the program is to stop."""
        self._client = client
        self._stop = stop

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            future = getattr(self._client.futures, method)(*args, **kwargs)
            while True:
                try:
                    return future.result(timeout=_POLL_SECONDS)
                except futures.TimeoutError:
                    if self._stop.is_set():
                        future.cancel()
                        raise ProgramStopped from None

        return call


@contextmanager
def ends_on_stop(stop: threading.Event) -> Iterator[None]:
    """Suppresses errors caused by peers that go away because the program is stopping."""
    try:
        yield
    except ProgramStopped:
        return
    except Exception:
        if not stop.wait(GRACE):
            raise
