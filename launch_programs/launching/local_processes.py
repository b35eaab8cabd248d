"""A program's nodes as processes of this machine."""

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


def define_flags() -> None:
    """None of its own."""


def check(config: RunConfig, logdir: str) -> None:
    """Checks that this machine's devices share a batch.

    Raises:
      ValueError: they do not.
    """
    del logdir
    # Of the CPU: this process leaves accelerators to the learner, which says the same of them.
    config.agent.num_minibatches(jax.local_device_count())


def prepare() -> None:
    """Starts the process that nodes are forked from."""
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
    """The functions of a run's nodes by name, pickled, with addresses of this machine.

    In a fork, so that the launcher does without Reverb, and so without TensorFlow.
    """
    from launch_programs.nodes.program import make_program, named_nodes

    directory = RunDirectory(path)
    nodes = named_nodes(make_program(directory.read_config(), directory))
    for node in nodes.values():
        addressing.bind_addresses_local(node.addresses)
    return {name: cloudpickle.dumps(node.function) for name, node in nodes.items()}
