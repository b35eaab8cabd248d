"""Where a program's nodes can run, and who starts them: what `--launch_type` chooses from.

A new one is a module with what `Backend` asks for, and a line in `_MODULES`.
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
    """A module. It loads no library that only its own users need."""

    # How nodes run, for the help.
    HELP: str
    # Whether all nodes are on this machine, and can do with a network of their own.
    ON_THIS_MACHINE: bool
    # Whether `run` only hands the program over: no launcher stays with it.
    HANDS_OVER: bool

    def define_flags(self) -> None:
        """Defines the flags that only this backend reads."""

    def check(self, config: RunConfig, logdir: str) -> None:
        """Checks what a launch needs, before anything is written or started.

        Args:
          config: the run.
          logdir: the run directory as the user gave it, or "".

        Raises:
          ValueError: something is missing or not acceptable.
        """

    def prepare(self) -> None:
        """Begins what takes long, in the launcher's process, which has one thread.

        Raises:
          OSError: it cannot.
        """

    def run(self, directory: RunDirectory, failures: FailureLog, stop: threading.Event) -> bool:
        """Runs the program to its end, in the launcher's main thread.

        Args:
          directory: of the run, with its configuration.
          failures: hears of what died and what became of it.
          stop: asks the program to stop; set by SIGTERM.

        Returns:
          Whether training has finished; else it was stopped.

        Raises:
          ProgramFailed: it cannot continue.
          ConnectionError: there is no such cluster.
        """


# By --launch_type.
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
        "Times in ten minutes that an actor, or the evaluator, that died is started again before "
        "the program stops; with Ray, also the whole program from its last checkpoint.",
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
