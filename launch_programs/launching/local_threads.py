"""Runs a program's nodes as threads of one process, with Launchpad's launcher, for debugging."""

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence

from launch_programs.launching.local_processes import check as check
from launch_programs.launching.supervisor import ProgramFailed, last_line
from launch_programs.nodes.ending import GivenUp
from launch_programs.run.failure_log import FailureLog
from launch_programs.run.run_directory import RunDirectory

HELP = "as threads of one process, without restarts"
ON_THIS_MACHINE = True
HANDS_OVER = False


def define_flags() -> None:
    """Defines none."""


def prepare() -> None:
    """Does nothing."""


def run(directory: RunDirectory, failures: FailureLog, stop: threading.Event) -> bool:
    """Runs the program; see `Backend`."""
    import launchpad as lp
    from absl import flags

    from launch_programs.nodes.program import make_program

    config = directory.read_config()
    flags.FLAGS(sys.argv[:1], known_only=True)
    program = make_program(config, directory)
    manager = lp.launch(program, launch_type="local_mt", terminal="current_terminal")
    # Launchpad forgets nodes that have ended, and raises a failure where it is waited for first:
    # here, or in the thread of colocated nodes, such as the learner's.
    nodes = [
        (group, worker.future)
        for group in program.groups
        for worker in manager._active_workers[group]
    ]
    if stop.is_set():
        os.kill(os.getpid(), signal.SIGTERM)  # it came before Launchpad installed its own handler
    with contextlib.suppress(Exception, SystemExit):
        manager.wait()
    manager.wait(raise_error=False)
    # Launchpad's launcher does not say why it ended.
    steps = directory.read_last_checkpoint() or 0
    if steps * config.agent.frames_per_update >= config.last_frame:
        return True
    _raise_failure([(group, node.exception()) for group, node in nodes])
    return False


def _raise_failure(errors: Sequence[tuple[str, BaseException | None]]) -> None:
    """Raises ProgramFailed if one of the nodes, given by their groups, has raised an error."""
    for _, error in errors:
        if isinstance(error, GivenUp):  # other errors may follow from that
            raise ProgramFailed("launcher", error.cause)
    for group, error in errors:
        if error is not None:
            output = "".join(traceback.format_exception(error))
            raise ProgramFailed("launcher", f"{group}: {last_line(output)}", output=output)
