"""Hosts of a small cluster on this machine: network namespaces joined by a bridge.

Each host has one address, and a loopback interface that no other host reaches. The machine's own
interfaces are not touched: the bridge, too, is in a namespace. The hosts share the machine's disk,
but a directory can be hidden from a host.
"""

import contextlib
import functools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

# Mounts an empty file system over each directory before "--", then becomes the command after it.
# `ip netns exec` has already made a mount namespace, so no other process sees the mounts.
_HIDE = (
    'while [ "$1" != -- ]; do mount -t tmpfs none "$1" || exit 125; shift; done; shift; exec "$@"'
)


class Host:
    """A host; its processes use its network and do not see directories hidden from it."""

    def __init__(self, namespace: str, address: str):
        """Keeps its arguments; `network` makes hosts."""
        self.namespace = namespace
        self.address = address
        self._hidden: list[pathlib.Path] = []
        self._started: list[subprocess.Popen[Any]] = []

    def hide(self, directory: pathlib.Path) -> None:
        """Makes an existing directory look empty to processes started from now on."""
        self._hidden.append(directory)

    def command(self, argv: Sequence[str | os.PathLike[str]]) -> list[str]:
        """The command on this machine that runs `argv` on the host, in the same process."""
        command = ["ip", "netns", "exec", self.namespace]
        if self._hidden:
            command += ["sh", "-c", _HIDE, "sh", *map(str, self._hidden), "--"]
        return [*command, *map(str, argv)]

    def popen(self, argv: Sequence[str | os.PathLike[str]], **kwargs: Any) -> subprocess.Popen[Any]:
        """Starts a process on the host; `kwargs` are those of `subprocess.Popen`."""
        process = subprocess.Popen(self.command(argv), **kwargs)
        self._started.append(process)
        return process

    def loopback_packets(self) -> int:
        """How many packets have passed its loopback interface, on which it talks to itself."""
        [interface] = json.loads(_ip("-n", self.namespace, "-s", "-j", "link", "show", "lo"))
        return int(interface["stats64"]["rx"]["packets"])

    def pids(self) -> list[int]:
        """Its live processes."""
        return [int(pid) for pid in _ip("netns", "pids", self.namespace).split()]

    def kill(self) -> None:
        """Kills all its processes, as a power cut would."""
        deadline = time.monotonic() + 10
        while pids := self.pids():
            assert time.monotonic() < deadline, f"{pids} of {self.namespace} cannot be killed"
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        for process in self._started:
            process.wait()


def _ip(*arguments: str) -> str:
    result = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if result.returncode != 0:
        raise OSError(f"ip {' '.join(arguments)}: {result.stderr.strip()}")
    return result.stdout


@contextlib.contextmanager
def network(num_hosts: int) -> Iterator[list[Host]]:
    """Makes hosts that reach each other at their addresses; removes them afterwards.

    Raises:
      OSError: the system does not allow it; `missing` says so beforehand.
    """
    prefix = f"popart-{uuid.uuid4().hex[:8]}"
    switch = f"{prefix}-switch"
    hosts = [Host(f"{prefix}-{i}", f"10.77.0.{i + 1}") for i in range(num_hosts)]
    with contextlib.ExitStack() as cleanup:
        _ip("netns", "add", switch)
        cleanup.callback(_ip, "netns", "del", switch)
        _ip("-n", switch, "link", "add", "bridge", "up", "type", "bridge")
        for i, host in enumerate(hosts):
            name = host.namespace
            _ip("netns", "add", name)
            cleanup.callback(_ip, "netns", "del", name)
            cleanup.callback(host.kill)
            _ip("-n", switch, "link", "add", f"port{i}", "type", "veth", *_peer(name))
            _ip("-n", switch, "link", "set", f"port{i}", "master", "bridge", "up")
            _ip("-n", name, "address", "add", f"{host.address}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield hosts


def _peer(namespace: str) -> list[str]:
    return ["peer", "name", "eth0", "netns", namespace]


@functools.cache
def missing() -> str | None:
    """Why this system cannot have such hosts, or None; for `pytest.mark.skipif`."""
    if shutil.which("ip") is None:
        return "needs the program ip (iproute2)"
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    try:
        with network(1) as [host]:
            host.hide(pathlib.Path("/tmp"))
            if host.popen(["true"], stderr=subprocess.DEVNULL).wait() != 0:
                return "needs the right to mount a file system"
    except OSError as error:
        return f"needs network namespaces: {error}"
    return None
