"""Runs one node in its process, however the process was started.

When started as a separate program (Ray), it reads the pickled node from standard input, so there is
no pickle file that another user could change. The pipe stays open; once it closes, the launcher has
died, and the node stops too.
"""

import ctypes
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

import cloudpickle
from absl import flags
from launchpad.launch import worker_manager

from launch_programs.console import at_start, standard_streams
from launch_programs.nodes.ending import ORPHAN

# <linux/prctl.h>
_PR_SET_NAME = 15


def run_node(function: Callable[[], object]) -> None:
    """Runs a node in this process's main thread, with the set-up that Launchpad's nodes rely on.

    SIGTERM asks the node to stop, and kills it after `--lp_termination_notice_secs` (10).

    Args:
      function: the node's function, as in Launchpad's `PyNode.function`.
    """
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(sys.argv[:1])  # Launchpad reads its own flags' defaults
    worker_manager.WorkerManager(register_in_thread=True)
    try:
        function()
    finally:
        # Cancels Launchpad's countdown after a stop: its next alarm would kill the process during
        # shutdown, when Python no longer handles the signal.
        signal.alarm(0)


def run_to_end(
    name: str, load: Callable[[], Callable[[], object]], wait: Callable[[], object]
) -> NoReturn:
    """Runs a node that belongs to a launcher, and ends this process.

    Args:
      name: name of the node, such as "actor/3"; also becomes the process name that `ps -e`, `top`
        and `pgrep` show.
      load: returns the node's function.
      wait: returns when the launcher has died, which ends the node too.
    """
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode())
    standard_streams.set_up()  # the launcher, which reads them, may be killed before the node

    def end_with_launcher() -> None:
        wait()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(ORPHAN)
        os.kill(os.getpid(), signal.SIGKILL)

    def run() -> None:
        function = load()
        threading.Thread(target=end_with_launcher, name="launcher", daemon=True).start()
        run_node(function)

    end_after(run)


def end_after(run: Callable[[], object]) -> NoReturn:
    """Runs a node and ends its process; prints an exception as Python would on exit."""
    code = 0
    try:
        run()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    end_process(code)


def end_process(exit_code: int) -> NoReturn:
    """Ends the process of a node that has nothing left to do, skipping Python's finalisation.

    Finalisation first collects all garbage, which takes the learner many seconds on a busy machine,
    longer than a launcher waits. It also destroys Reverb's objects while their C++ threads still
    run, which can abort the process.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


if __name__ == "__main__":
    at_start.collect_garbage()
    run_to_end(
        sys.argv[1],
        lambda: cloudpickle.load(sys.stdin.buffer),
        lambda: os.read(sys.stdin.fileno(), 1),  # nothing more is ever written
    )
