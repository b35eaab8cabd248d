"""The hosts on which other tests run programs are isolated from each other."""

import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.integration import hosts
from tests.integration.hosts import Host

pytestmark = pytest.mark.skipif(hosts.missing() is not None, reason=str(hosts.missing()))

SERVE = """
import socket
server = socket.create_server(("ADDRESS", 7000))
print("listening", flush=True)
while True:
    server.accept()[0].sendall(b"hello")
"""

CONNECT = """
import socket
print(socket.create_connection(("ADDRESS", 7000), timeout=5).recv(5).decode())
"""


@pytest.fixture
def pair() -> Iterator[list[Host]]:
    with hosts.network(2) as pair:
        yield pair


def serve(host: Host, address: str) -> None:
    process = host.popen(
        [sys.executable, "-c", SERVE.replace("ADDRESS", address)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "listening\n"


def connect(host: Host, address: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        host.command([sys.executable, "-c", CONNECT.replace("ADDRESS", address)]),
        capture_output=True,
        text=True,
    )


def test_hosts_reach_each_other(pair: list[Host]) -> None:
    serve(pair[0], pair[0].address)
    assert connect(pair[1], pair[0].address).stdout == "hello\n"
    assert [host.loopback_packets() for host in pair] == [0, 0]


def test_a_loopback_interface_is_the_hosts_own(pair: list[Host]) -> None:
    serve(pair[0], "127.0.0.1")
    assert connect(pair[0], "127.0.0.1").stdout == "hello\n"
    assert pair[0].loopback_packets() > 0
    assert "Connection refused" in connect(pair[1], "127.0.0.1").stderr
    assert "Connection refused" in connect(pair[1], pair[0].address).stderr


def test_networks_of_equal_addresses_are_apart(pair: list[Host]) -> None:
    serve(pair[0], pair[0].address)
    with hosts.network(2) as others:
        assert others[0].address == pair[0].address
        assert "Connection refused" in connect(others[1], pair[0].address).stderr


def test_a_directory_is_hidden_from_one_host(pair: list[Host], tmp_path: pathlib.Path) -> None:
    (tmp_path / "checkpoint").touch()
    pair[1].hide(tmp_path)
    listings = [subprocess.check_output(host.command(["ls", tmp_path])) for host in pair]
    assert listings == [b"checkpoint\n", b""]


def test_nothing_is_left_after_a_failure() -> None:
    with pytest.raises(ZeroDivisionError), hosts.network(2) as pair:
        process = pair[0].popen(["sleep", "60"])
        names = [host.namespace for host in pair]
        assert all(name in subprocess.check_output(["ip", "netns"], text=True) for name in names)
        _ = 1 / 0
    assert process.returncode == -9
    left = subprocess.check_output(["ip", "netns"], text=True)
    assert not any(name in left for name in names)
