"""The Ray actor beside each node of a program on a Ray cluster.

It imports nothing that it does not need: there is one for every node.
"""

import dataclasses
import pathlib
import socket
import subprocess
import tempfile
from collections.abc import Mapping

import ray

from launch_programs.starting import start_node


@dataclasses.dataclass(frozen=True)
class Status:
    """What a keeper tells of its node."""

    code: int | None  # exit code, None while it runs
    output: bytes  # printed since the last time


class Keeper:
    """The Ray actor beside a node. When it dies, its node does too (node_process.py)."""

    def __init__(self) -> None:
        """Reserves nothing yet."""
        self._sockets: list[socket.socket] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._directory = tempfile.TemporaryDirectory()
        self._output = pathlib.Path(self._directory.name) / "output"
        self._shown = 0

    def reserve(self, number: int) -> list[str]:
        """Free ports of this host, as "host:port", kept free until the node starts."""
        host = ray.util.get_node_ip_address()
        for _ in range(number):
            reserved = socket.socket()
            reserved.bind(("", 0))
            self._sockets.append(reserved)
        return [f"{host}:{reserved.getsockname()[1]}" for reserved in self._sockets]

    def start(self, name: str, node: bytes, environment: Mapping[str, str]) -> None:
        """Starts the node's process."""
        for reserved in self._sockets:
            reserved.close()
        with self._output.open("wb") as output:
            self._process = start_node(name, node, environment, output)

    def poll(self) -> Status:
        """Whether the node runs, and what it has printed since the last call."""
        assert self._process is not None
        code = self._process.poll()  # before reading, so that a dead node's output is complete
        with self._output.open("rb") as file:
            file.seek(self._shown)
            output = file.read()
        self._shown += len(output)
        return Status(code, output)

    def send_signal(self, number: int) -> None:
        """Sends the node a signal."""
        assert self._process is not None
        self._process.send_signal(number)
