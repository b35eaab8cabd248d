"""A program's nodes as processes of this machine."""

import pathlib
import threading
from collections.abc import Callable, Mapping

import cloudpickle
from launchpad.nodes.python import addressing

from launch_programs.launching import forking
from launch_programs.launching.output_log import OutputLog
from launch_programs.launching.process_environments import process_environments
from launch_programs.launching.supervisor import RestartLimit, Supervisor
from launch_programs.run.run_directory import RunDirectory


class LocalProcess:
    """The process of one node; its output is appended to a file."""

    def __init__(self, name: str, node: bytes, environment: Mapping[str, str], log: pathlib.Path):
        """Starts it.

        Args:
          name: of the node, such as "actor/3".
          node: its function, pickled.
          environment: variables that it has besides this process's.
          log: file for what it prints.
        """
        self._log = OutputLog(log)
        self._process, output = forking.fork_node(name, node, environment)
        self._log.copy(output)

    def poll(self) -> int | None:
        """Its exit code, that of a signal negative; None while it runs."""
        return self._process.exitcode

    def output(self) -> str:
        """The last lines that it printed."""
        return self._log.end()

    def stop(self) -> None:
        """Asks it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.join()


def run(
    directory: RunDirectory,
    cores_per_actor: int,
    max_restarts: int,
    report: Callable[[str, str], None],
    stop: threading.Event,
) -> bool:
    """Runs a run's program on this machine to its end; `forking.prepare` has been called.

    Args:
      directory: of the run.
      cores_per_actor: CPU cores that an actor may use.
      max_restarts: of each actor, and the evaluator, in ten minutes.
      report: gets the name of a node that died and what became of it.
      stop: asks the program to stop.

    Returns:
      Whether training has finished; else `stop` came.

    Raises:
      ProgramFailed: a node died without which there is no program, or another too often.
    """
    pickled = forking.call(_pickled_nodes, str(directory.path))
    environments = process_environments(cores_per_actor)
    logs = directory.logs.absolute()

    def start(name: str) -> LocalProcess:
        return LocalProcess(name, pickled[name], environments[name.split("/")[0]], logs / name)

    return Supervisor(list(pickled), start, RestartLimit(max_restarts), report).run(stop)


def _pickled_nodes(path: str) -> dict[str, bytes]:
    """The functions of a run's nodes by name, pickled, with addresses of this machine.

    In a fork, so that the launcher does without Reverb, and so without TensorFlow.
    """
    from launch_programs.nodes.program import make_program, named_nodes

    directory = RunDirectory(path)
    nodes = named_nodes(make_program(directory.read_config(), directory))
    for node in nodes.values():
        addressing.bind_addresses_local(node.addresses)
    return {name: cloudpickle.dumps(node.function) for name, node in nodes.items()}
