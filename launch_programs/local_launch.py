"""A program's nodes as processes of this machine."""

import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Mapping

import cloudpickle
import launchpad as lp
from launchpad.nodes.python import addressing

from launch_programs.program import named_nodes


class LocalProcess:
    """The process of one node; its output is appended to a file."""

    def __init__(self, name: str, node: bytes, environment: Mapping[str, str], log: pathlib.Path):
        """Starts it.

        Args:
          name: of the node, such as "actor/3"; shown by `ps`.
          node: its function, pickled.
          environment: variables that it has besides this process's.
          log: file for what it prints.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "launch_programs.node_process", name],
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(node)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died already, which `poll` tells

    def poll(self) -> int | None:
        """Its exit code, that of a signal negative; None while it runs."""
        return self._process.poll()

    def last_words(self) -> str:
        """The last line that it printed."""
        return last_line(self._log.read_text(errors="replace"))

    def stop(self) -> None:
        """Asks it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """Ends it."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def last_line(text: str) -> str:
    """The last line of `text` that is not empty."""
    lines = text.split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


class LocalLauncher:
    """Starts a program's nodes on this machine, at addresses that are bound once."""

    def __init__(
        self,
        program: lp.Program,
        environments: Mapping[str, Mapping[str, str]],
        logs: pathlib.Path,
    ):
        """Binds the program's addresses.

        Args:
          program: with unbound addresses.
          environments: variables of the nodes' processes, by group.
          logs: directory for what they print.
        """
        nodes = named_nodes(program)
        for node in nodes.values():
            addressing.bind_addresses_local(node.addresses)
        self._nodes = {name: cloudpickle.dumps(node.function) for name, node in nodes.items()}
        self._environments = environments
        self._logs = logs

    @property
    def nodes(self) -> list[str]:
        """Names of the nodes, in the order in which they are to be started."""
        return list(self._nodes)

    def start(self, name: str) -> LocalProcess:
        """Starts a node's process."""
        group = name.split("/")[0]
        return LocalProcess(name, self._nodes[name], self._environments[group], self._logs / name)
