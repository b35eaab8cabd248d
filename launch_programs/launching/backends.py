"""The backends that `--launch_type` chooses from: where nodes run, and what starts them.

To add one, write a module that implements `Backend`, and add a line to `_MODULES`.
"""

import importlib
import threading
from types import ModuleType
from typing import Protocol, cast

from absl import flags

from launch_programs.launching import private_network
from launch_programs.run.failure_log import FailureLog
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory

FLAGS = flags.FLAGS


class Backend(Protocol):
    """A backend module. Importing it loads no library that only its own users need."""

    # How nodes run, for --help.
    HELP: str
    # Whether all nodes are on this machine, so that a private network suffices.
    ON_THIS_MACHINE: bool
    # Whether `run` only hands the program over, with no launcher staying behind.
    HANDS_OVER: bool

    def define_flags(self) -> None:
        """Defines the flags that only this backend reads."""

    def check(self, config: RunConfig, logdir: str) -> None:
        """Checks a launch's requirements before anything is written or started.

        Args:
          config: the run.
          logdir: the run directory as given by the user, or "".

        Raises:
          ValueError: something is missing or not acceptable.
        """

    def prepare(self) -> None:
        """Starts slow preparations, in the launcher's process while it has only one thread.

        Raises:
          OSError: a preparation cannot be started.
        """

    def run(self, directory: RunDirectory, failures: FailureLog, stop: threading.Event) -> bool:
        """Runs the program to its end, in the launcher's main thread.

        Args:
          directory: the run directory, with its configuration.
          failures: records which nodes died and how that was handled.
          stop: asks the program to stop; set by SIGTERM.

        Returns:
          Whether training has finished; otherwise it was stopped.

        Raises:
          ProgramFailed: the program cannot continue.
          ConnectionError: there is no such cluster.
        """


# Modules by --launch_type.
_MODULES = {
    "local_mp": "local_processes",
    "local_mt": "local_threads",
    "ray": "ray_backend",
    "vertex_ai": "vertex",
}


def _load(launch_type: str) -> ModuleType:
    return importlib.import_module(f"launch_programs.launching.{_MODULES[launch_type]}")


def define_flags() -> None:
    """Defines --launch_type and the flags of all backends."""
    modules = {name: _load(name) for name in _MODULES}
    *others, last = (f"{module.HELP} ({name})" for name, module in modules.items())
    flags.DEFINE_enum(
        "launch_type", "local_mp", list(modules), f"Nodes {', '.join(others)}, or {last}."
    )
    flags.DEFINE_integer(
        "max_restarts",
        5,
        "Restarts of a dead actor or evaluator within ten minutes before the program ends; with "
        "Ray, also restarts of the whole program from its last checkpoint.",
        lower_bound=0,
    )
    for module in (private_network, *modules.values()):
        module.define_flags()
        flags.adopt_module_key_flags(module)


def flag_names() -> list[str]:
    """The flags that `define_flags` has defined."""
    return [flag.name for flag in FLAGS.get_key_flags_for_module(__name__)]


def chosen() -> Backend:
    """The backend that --launch_type names."""
    return cast(Backend, _load(FLAGS.launch_type))
