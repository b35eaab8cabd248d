"""Waiting for other nodes, but only until the program stops, with real Courier servers."""

import contextlib
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import courier
import numpy as np
import pytest

from launch_programs.nodes import stopping
from launch_programs.nodes.stopping import ProgramStopped, StoppableClient, ends_on_stop

ROOT = pathlib.Path(stopping.__file__).parents[2]

# Seconds after which a test fails; nothing here should come close.
DEADLINE = 30.0

# A node that never answers: prints its port, then sleeps in the call.
SLEEPER = """
import time, courier
server = courier.Server()
server.Bind("nap", lambda: time.sleep(600))
server.Start()
print(server.port, flush=True)
time.sleep(600)
"""

# A node whose peer never existed is asked to stop: it must end, not only give up.
LONELY = """
import threading, courier
from launch_programs.nodes.stopping import ProgramStopped, StoppableClient
stop = threading.Event()
threading.Timer(0.5, stop.set).start()
client = StoppableClient(courier.Client("localhost:1", call_timeout=600.0), stop)
try:
    client.anything(1, x=2)
except ProgramStopped:
    print("stopped", flush=True)
"""


@contextlib.contextmanager
def serving(**methods: Any) -> Iterator[courier.Client]:
    server = courier.Server()
    for name, method in methods.items():
        server.Bind(name, method)
    server.Start()
    try:
        yield courier.Client(f"localhost:{server.port}", call_timeout=DEADLINE)
    finally:
        server.Stop()


def test_calls_pass_through() -> None:
    def scale(values: list[float], *, factor: float) -> dict[str, Any]:
        return {"scaled": factor * np.array(values), "factor": factor}

    def complain() -> None:
        raise ValueError("no such thing")

    with serving(scale=scale, complain=complain) as courier_client:
        client = StoppableClient(courier_client, threading.Event())
        result = client.scale([1.0, 2.0], factor=3.0)
        np.testing.assert_array_equal(result["scaled"], [3.0, 6.0])
        assert result["factor"] == 3.0
        with pytest.raises(Exception, match="no such thing"):
            client.complain()
        with pytest.raises(Exception, match="unknown_method"):
            client.unknown_method()


def test_a_slow_answer_is_waited_for_while_nobody_stops() -> None:
    def slow() -> str:
        time.sleep(1.0)  # several polls
        return "done"

    with serving(slow=slow) as client:
        assert StoppableClient(client, threading.Event()).slow() == "done"


def test_a_quick_answer_comes_even_while_the_program_stops() -> None:
    """The learner asks for the counts when it saves its last checkpoint."""
    stop = threading.Event()
    stop.set()
    with serving(count=lambda: 3) as client:
        assert StoppableClient(client, stop).count() == 3


def test_a_call_to_a_peer_that_died_ends_when_the_program_stops() -> None:
    stop = threading.Event()
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE) as sleeper:
        assert sleeper.stdout is not None
        port = int(sleeper.stdout.readline())
        client = StoppableClient(courier.Client(f"localhost:{port}", call_timeout=600.0), stop)
        ended: list[BaseException] = []

        def call() -> None:
            try:
                client.nap()
            except BaseException as error:
                ended.append(error)

        caller = threading.Thread(target=call, daemon=True)
        caller.start()
        caller.join(1.0)
        assert caller.is_alive()  # the call waits
        sleeper.kill()
    stop.set()
    caller.join(DEADLINE)
    assert not caller.is_alive()
    # Courier may have noticed the death itself; either way the call must not continue.
    assert len(ended) == 1
    # Nobody is left to answer a new call.
    with pytest.raises(ProgramStopped):
        client.nap()


def test_a_node_that_gave_up_can_end() -> None:
    """Calls that Courier still has in flight must not keep the process alive."""
    result = subprocess.run(
        [sys.executable, "-c", LONELY],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        timeout=DEADLINE,
        check=True,
    )
    assert result.stdout == b"stopped\n"


def test_a_dead_peer_is_an_error_at_the_calls_timeout() -> None:
    client = StoppableClient(courier.Client("localhost:1", call_timeout=1.0), threading.Event())
    with pytest.raises(Exception, match="(?i)deadline") as error:
        client.anything()
    assert not isinstance(error.value, ProgramStopped)


def test_errors_of_a_node_count_unless_the_program_stops() -> None:
    stop = threading.Event()

    def fail(message: str) -> None:
        with ends_on_stop(stop):
            raise ValueError(message)

    with pytest.raises(ValueError, match="real"):
        fail("real")

    timer = threading.Timer(0.3, stop.set)  # the peer went just before we heard of the stop
    timer.start()
    fail("a peer has gone")
    assert stop.is_set()


def test_giving_up_because_of_a_stop_is_no_error() -> None:
    with ends_on_stop(threading.Event()):
        raise ProgramStopped


def test_no_error_no_change() -> None:
    with ends_on_stop(threading.Event()):
        value = 1
    assert value == 1
    with pytest.raises(KeyboardInterrupt), ends_on_stop(threading.Event()):
        raise KeyboardInterrupt
