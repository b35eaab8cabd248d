"""The Ray actor that accompanies each node of a program on a Ray cluster.

It imports only what it needs, since there is one per node.
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

# Bytes of output kept between polls, which come twice a second; older output is dropped.
_KEPT = 2**20

# Seconds to wait for the rest of a dead node's output: one of its children may hold the pipe.
_REST = 1.0


@dataclasses.dataclass(frozen=True)
class Status:
    """What a keeper reports about its node."""

    code: int | None  # exit code; None while the node runs
    output: bytes  # printed since the last report


class Keeper:
    """The Ray actor of a node. When it dies, so does its node (node_process.py)."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._output = b""
        self._lock = threading.Lock()  # guards the output
        self._copier: threading.Thread | None = None

    def reserve(self, number: int) -> list[str]:
        """Reserves free ports of this host until the node starts; returns "host:port" strings."""
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
