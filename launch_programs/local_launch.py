"""A program's nodes as processes of this machine."""

import pathlib
import signal
import threading
from collections.abc import Callable, Mapping

import cloudpickle
import launchpad as lp
from launchpad.nodes.python import addressing

from launch_programs.process_environments import process_environments
from launch_programs.program import named_nodes
from launch_programs.starting import start_node
from launch_programs.supervisor import RestartLimit, Supervisor


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
            self._process = start_node(name, node, environment, file)

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


def run(
    program: lp.Program,
    cores_per_actor: int,
    logs: pathlib.Path,
    max_restarts: int,
    report: Callable[[str, str], None],
    stop: threading.Event,
) -> None:
    """Runs a program on this machine to its end.

    Args:
      program: with unbound addresses.
      cores_per_actor: CPU cores that an actor may use.
      logs: directory for what nodes print.
      max_restarts: of each actor, and the evaluator, in ten minutes.
      report: gets the name of a node that died and what became of it.
      stop: asks the program to stop.

    Raises:
      ProgramFailed: a node died without which there is no program, or another too often.
    """
    nodes = named_nodes(program)
    for node in nodes.values():
        addressing.bind_addresses_local(node.addresses)
    pickled = {name: cloudpickle.dumps(node.function) for name, node in nodes.items()}
    environments = process_environments(cores_per_actor)

    def start(name: str) -> LocalProcess:
        return LocalProcess(name, pickled[name], environments[name.split("/")[0]], logs / name)

    Supervisor(list(nodes), start, RestartLimit(max_restarts), report).run(stop)
