"""Runs the program of a run directory: the process between `train` and the nodes.

It lives in a session of its own, so that Ctrl-C reaches `train` alone, and in a network of its own,
so that nobody else reaches the nodes. It ends with `train`.

    python -m launch_programs.launcher LOGDIR local_mp|local_mt MAX_RESTARTS
"""

import os
import signal
import sys
import threading

from launch_programs import private_network


def main(arguments: list[str]) -> int:
    """Launches the program and waits for its end; returns the exit code, 1 if it failed."""
    path, launch_type, max_restarts = arguments
    # First of all: what is imported below may start threads, which a process must not have then.
    try:
        private_network.enter()
        open_network = ""
    except OSError as error:
        open_network = (
            "nodes listen on all network interfaces, since this system does not allow private "
            f"networks ({error.strerror}); see docs/cluster.md, security"
        )

    from launch_programs.failure_log import FailureLog
    from launch_programs.local_launch import LocalLauncher
    from launch_programs.program import make_program, process_environments
    from launch_programs.run_directory import RunDirectory
    from launch_programs.supervisor import ProgramFailed, RestartLimit, Supervisor

    directory = RunDirectory(path)
    config = directory.read_config()
    failures = FailureLog(directory)
    if open_network:
        failures.add("launcher", open_network)
    program = make_program(config, directory)
    if launch_type == "local_mt":
        _run_threads(program)
        return 0
    launcher = LocalLauncher(
        program, process_environments(config.cores_per_actor), directory.logs.absolute()
    )
    supervisor = Supervisor(
        launcher.nodes, launcher.start, RestartLimit(int(max_restarts)), failures.add
    )
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda signum, frame: stop.set())
    _stop_with_parent()
    try:
        supervisor.run(stop)
    except ProgramFailed as failure:
        print(failure, flush=True)
        return 1
    return 0


def _run_threads(program: object) -> None:
    """Launchpad's own launcher for threads of one process: for debugging, without restarts."""
    import launchpad as lp
    from absl import flags

    flags.FLAGS(sys.argv[:1])  # Launchpad reads its own flags' defaults
    manager = lp.launch(program, launch_type="local_mt", terminal="current_terminal")
    _stop_with_parent()
    manager.wait()


def _stop_with_parent() -> None:
    """Stops the program when the starting process has gone, even killed.

    Standard input is a pipe that nobody writes to: it ends when the other side does.
    """

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
