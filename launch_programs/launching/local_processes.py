"""Runs a program's nodes as processes on this machine."""

import pathlib
import threading
from collections.abc import Mapping

import cloudpickle
import jax
from absl import flags
from launchpad.nodes.python import addressing

from launch_programs.launching import forking
from launch_programs.launching.output_log import OutputLog
from launch_programs.launching.process_environments import (
    common_environment,
    process_environments,
)
from launch_programs.launching.supervisor import RestartLimit, Supervisor
from launch_programs.run.failure_log import FailureLog
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory

HELP = "as processes of this machine"
ON_THIS_MACHINE = True
HANDS_OVER = False


class LocalProcess:
    """The process of one node; its output is appended to a file."""

    def __init__(self, name: str, node: bytes, environment: Mapping[str, str], log: pathlib.Path):
        """Starts the process.

        Args:
          name: name of the node, such as "actor/3".
          node: its function, pickled.
          environment: variables that it has in addition to this process's.
          log: file for its output.
        """
        self._log = OutputLog(log)
        self._process, output = forking.fork_node(name, node, environment)
        self._log.copy(output)

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._process.exitcode

    def output(self) -> str:
        """The last lines of output."""
        return self._log.end()

    def stop(self) -> None:
        """Asks the process to end."""
        self._process.terminate()

    def kill(self) -> None:
        """Kills the process."""
        self._process.kill()
        self._process.join()


def define_flags() -> None:
    """Defines none."""


def check(config: RunConfig, logdir: str) -> None:
    """Checks that a batch can be divided among this machine's devices.

    Raises:
      ValueError: it cannot.
    """
    del logdir
    # Counts CPU devices: accelerators are left to the learner, which makes the same check there.
    config.agent.num_minibatches(jax.local_device_count())


def prepare() -> None:
    """Starts the fork server for the nodes."""
    forking.prepare(common_environment())


def run(directory: RunDirectory, failures: FailureLog, stop: threading.Event) -> bool:
    """Runs the program; see `Backend`."""
    pickled = forking.call(_pickled_nodes, str(directory.path))
    environments = process_environments(directory.read_config().cores_per_actor)
    logs = directory.logs.absolute()

    def start(name: str) -> LocalProcess:
        return LocalProcess(name, pickled[name], environments[name.split("/")[0]], logs / name)

    limit = RestartLimit(flags.FLAGS.max_restarts)
    return Supervisor(list(pickled), start, limit, failures.add_restart).run(stop)


def _pickled_nodes(path: str) -> dict[str, bytes]:
    """The pickled functions of a run's nodes, by name, with addresses on this machine.

    Called in a fork, so that the launcher loads neither Reverb nor, with it, TensorFlow.
    """
    from launch_programs.nodes.program import make_program, named_nodes

    directory = RunDirectory(path)
    nodes = named_nodes(make_program(directory.read_config(), directory))
    for node in nodes.values():
        addressing.bind_addresses_local(node.addresses)
    return {name: cloudpickle.dumps(node.function) for name, node in nodes.items()}
