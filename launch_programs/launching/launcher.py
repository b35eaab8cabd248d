"""Runs a run directory's program, as the process between `train` and the nodes.

It runs in a session of its own, so that Ctrl-C reaches only `train`, and it ends with `train`. With
--private_network, it and the nodes of a local run have a network that nobody else can reach.

    python -m launch_programs.launching.launcher --logdir=DIRECTORY --launch_type=local_mp ...
"""

import os
import signal
import sys
import threading

from absl import flags

from launch_programs.console import at_start, standard_streams
from launch_programs.launching import backends, private_network
from launch_programs.launching.supervisor import ProgramFailed
from launch_programs.run.failure_log import FailureLog
from launch_programs.run.run_directory import RunDirectory

FLAGS = flags.FLAGS

# Exit code when the launcher was asked to stop and all nodes have ended cleanly.
STOPPED = 4

# Lines of a failed node's output that are shown.
_SHOWN_LINES = 12


def main(argv: list[str]) -> int:
    """Launches the program and waits for its end.

    Returns:
      The exit code: 0 if training has finished, 1 if the program failed, otherwise `STOPPED`.
    """
    flags.DEFINE_string("logdir", None, "Run directory.", required=True)
    backends.define_flags()
    FLAGS(argv)
    backend = backends.chosen()

    open_network = ""
    if FLAGS.private_network and backend.ON_THIS_MACHINE:
        # This comes first, before anything starts threads.
        try:
            private_network.enter()
        except OSError as error:
            open_network = (
                "nodes listen on all network interfaces, since this system does not allow private "
                f"networks ({error.strerror}); see docs/cluster.md, security"
            )
    directory = RunDirectory(FLAGS.logdir)
    failures = FailureLog(directory)
    if open_network:
        failures.add("launcher", open_network)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda signum, frame: stop.set())
    try:
        backend.prepare()
        _stop_with_parent()
        finished = backend.run(directory, failures, stop)
    except ProgramFailed as failure:
        log = directory.logs.absolute() / failure.node
        print(failure, f"--- {log}", _last_lines(failure.output), sep="\n")
        return 1
    except OSError as error:  # there is no such cluster, or no process to fork nodes from
        print(error)
        return 1
    return 0 if finished else STOPPED


def _last_lines(output: str) -> str:
    """The last lines of a node's output."""
    return "\n".join(output.splitlines()[-_SHOWN_LINES:])


def _stop_with_parent() -> None:
    """Stops the program once its parent process is gone, even if that was killed.

    Standard input is a pipe that nobody writes to; it reaches end-of-file when the parent ends.
    """

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


if __name__ == "__main__":
    at_start.collect_garbage()
    standard_streams.set_up()  # `train` reads it, and may be killed
    sys.exit(main(sys.argv))
