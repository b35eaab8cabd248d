"""The Ray actor beside each node of a program on a Ray cluster.

It imports nothing that it does not need: there is one for every node.
"""

import dataclasses
import os
import socket
import subprocess
import threading
from collections.abc import Mapping
from typing import IO

import ray

from launch_programs.launching.spawning import start_node

# Bytes of output that are kept until they are asked for, twice a second; older ones are dropped.
_KEPT = 2**20

# Seconds that the rest of a dead node's output is waited for: a child of its may have the pipe.
_REST = 1.0


@dataclasses.dataclass(frozen=True)
class Status:
    """What a keeper tells of its node."""

    code: int | None  # exit code, None while it runs
    output: bytes  # printed since the last time


class Keeper:
    """The Ray actor beside a node. When it dies, its node does too (node_process.py)."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._output = b""
        self._lock = threading.Lock()  # guards the output
        self._copier: threading.Thread | None = None

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
        self._process, output = start_node(name, node, environment)
        self._copier = threading.Thread(target=self._copy, args=(output,), daemon=True)
        self._copier.start()

    def _copy(self, output: IO[bytes]) -> None:
        while data := os.read(output.fileno(), 2**16):
            with self._lock:
                self._output = (self._output + data)[-_KEPT:]

    def poll(self) -> Status:
        """Whether the node runs, and what it has printed since the last call."""
        assert self._process is not None and self._copier is not None
        code = self._process.poll()
        if code is not None:
            self._copier.join(_REST)  # so that a dead node's output is complete
        with self._lock:
            output, self._output = self._output, b""
        return Status(code, output)

    def send_signal(self, number: int) -> None:
        """Sends the node a signal."""
        assert self._process is not None
        self._process.send_signal(number)
