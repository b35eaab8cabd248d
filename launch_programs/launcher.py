"""Runs the program of a run directory: the process between `train` and the nodes.

Launchpad ends a program by force if it must, the process that launched it included. So `train`
starts this program in a process of its own, and lives to tell how it ended.

    python -m launch_programs.launcher LOGDIR local_mp|local_mt
"""

import os
import signal
import sys
import threading

from launch_programs.run_directory import RunDirectory


def _stop_with_parent() -> None:
    """Stops the program when the starting process has gone, even killed.

    Standard input is a pipe that nobody writes to: it ends when the other side does.
    """

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def main(arguments: list[str]) -> None:
    """Launches the program and waits for its end; raises if a node failed."""
    path, launch_type = arguments
    directory = RunDirectory(path)
    config = directory.read_config()
    # Read by Launchpad when it is imported.
    os.environ["LAUNCHPAD_LOGGING_DIR"] = str(directory.logs.absolute())

    import launchpad as lp
    from absl import flags

    from launch_programs.program import local_resources, make_program

    flags.FLAGS(sys.argv[:1])  # Launchpad reads its own flags' defaults
    program = make_program(config, directory)
    # Node output goes to files: that is also the only way of running processes in which Launchpad
    # 0.5.2 sees a node's exit code, and so stops the program when a node fails.
    manager = lp.launch(
        program,
        launch_type=launch_type,
        local_resources=local_resources(config),
        terminal="output_to_files",
    )
    _stop_with_parent()
    manager.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
