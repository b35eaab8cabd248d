"""Runs a program's nodes as threads of one process, with Launchpad's launcher, for debugging."""

import os
import signal
import sys
import threading

from launch_programs.launching.local_processes import check as check
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
    manager = lp.launch(
        make_program(config, directory), launch_type="local_mt", terminal="current_terminal"
    )
    if stop.is_set():
        os.kill(os.getpid(), signal.SIGTERM)  # it came before Launchpad installed its own handler
    manager.wait()
    # Launchpad's launcher does not say why it ended.
    steps = directory.read_last_checkpoint() or 0
    return steps * config.agent.frames_per_update >= config.last_frame
