"""What the command-line programs share: how they end, and how they speak of failures."""

import os
import pathlib
import signal
import sys
from typing import NoReturn

import jax
import psutil
from absl import logging

from launch_programs.run_directory import RunDirectory

# Lines of a failed node's output that are shown.
_SHOWN_LINES = 12


def set_up_process() -> None:
    """Quiet libraries, and JAX on the CPU, for programs that are not the learner.

    They run the network for one observation at a time, which no accelerator makes faster, and every
    JAX process takes a whole one.
    """
    logging.set_verbosity(logging.ERROR)
    jax.config.update("jax_platforms", "cpu")


def fail(error: Exception) -> NoReturn:
    """Ends the program with one line on what is wrong with its input, and exit code 2."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


def reject_positional_arguments(argv: list[str]) -> None:
    """Complains of arguments that are not flags.

    Raises:
      ValueError: there is one.
    """
    if len(argv) > 1:
        raise ValueError(f"unexpected argument {argv[1]!r}: settings are given as --name=value")


def kill_program(pid: int) -> None:
    """Kills a process and all that it started. A process that has gone already is no error."""
    try:
        root = psutil.Process(pid)
        processes = [*root.children(recursive=True), root]
    except psutil.NoSuchProcess:
        return
    for process in processes:
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def failures(directory: RunDirectory) -> str:
    """The end of what each failed node printed, with where the rest is."""
    parts = []
    for path in sorted(p for p in directory.logs.rglob("*") if p.is_file()):
        lines = path.read_text(errors="replace").splitlines()
        if any(line.startswith("Traceback ") for line in lines):
            parts.append(f"--- {_relative(path)}\n" + "\n".join(lines[-_SHOWN_LINES:]))
    return "\n".join(parts) or f"No node printed an error; their output is in {directory.logs}."


def _relative(path: pathlib.Path) -> str:
    return os.path.relpath(path)
