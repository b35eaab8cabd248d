"""A node asks a real Courier server whether it should end."""

import os
import signal
import threading
from collections.abc import Callable, Iterator

import courier
import pytest

from launch_programs.nodes import coordinator_watch
from launch_programs.nodes.coordinator_watch import CoordinatorWatch


@pytest.fixture
def asked_to_end(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """An event that is set once this process gets the signal that stops a node."""
    event = threading.Event()

    def kill(pid: int, signum: int) -> None:
        assert (pid, signum) == (os.getpid(), signal.SIGTERM)
        event.set()

    monkeypatch.setattr(os, "kill", kill)
    monkeypatch.setattr(coordinator_watch, "ENDED_POLL", 0.02)
    monkeypatch.setattr(coordinator_watch, "_ANSWER", 0.2)
    monkeypatch.setattr(coordinator_watch, "_SILENCE", 0.6)
    return event


Serve = Callable[[Callable[[], bool]], courier.Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers = []

    def serve(has_ended: Callable[[], bool]) -> courier.Server:
        server = courier.Server()
        server.Bind("has_ended", has_ended)
        server.Start()
        servers.append(server)
        return server

    yield serve
    for server in servers:
        server.Stop()


def test_the_program_ends(asked_to_end: threading.Event, serve: Serve) -> None:
    ended = threading.Event()
    watch = CoordinatorWatch("actor/0", f"localhost:{serve(ended.is_set).port}")
    assert not asked_to_end.wait(1.5)  # it answers, so there is no silence
    ended.set()
    assert asked_to_end.wait(10)
    watch.close()
    assert (watch.ended, watch.lost) == (True, False)


def test_the_coordinator_goes_away(
    asked_to_end: threading.Event, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(lambda: False)
    address = f"localhost:{server.port}"
    watch = CoordinatorWatch("actor/0", address)
    assert not asked_to_end.wait(0.5)
    server.Stop()
    assert asked_to_end.wait(10)
    watch.close()
    assert (watch.ended, watch.lost) == (False, True)
    assert capsys.readouterr().err.startswith(
        f"actor/0: the coordinator at {address} has not answered for 1 seconds;"
    )


def test_the_node_ends_before(asked_to_end: threading.Event, serve: Serve) -> None:
    """Even while it waits for an answer."""
    CoordinatorWatch("actor/0", f"localhost:{serve(lambda: False).port}").close()
    watch = CoordinatorWatch("actor/0", "localhost:1")
    assert not asked_to_end.wait(0.1)
    watch.close()
    assert not asked_to_end.is_set()
    assert (watch.ended, watch.lost) == (False, False)
