"""Runs the program of a run directory: the process between `train` and the nodes.

It lives in a session of its own, so that Ctrl-C reaches `train` alone, and it ends with `train`.
With --private_network, it and the nodes of a local run have a network that nobody else reaches.

    python -m launch_programs.launching.launcher --logdir=DIRECTORY --launch_type=local_mp ...
"""

import argparse
import os
import pathlib
import signal
import sys
import threading

from launch_programs.console import standard_streams
from launch_programs.launching import forking, private_network
from launch_programs.launching.process_environments import common_environment

# Exit code when it was asked to stop, and all nodes have ended in order.
STOPPED = 4

# Lines of a failed node's output that are shown.
_SHOWN_LINES = 12


def main(arguments: list[str]) -> int:
    """Launches the program and waits for its end.

    Returns:
      The exit code: 0 if training has finished, 1 if the program failed, else `STOPPED`.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logdir", required=True)
    parser.add_argument("--launch_type", required=True, choices=["local_mp", "local_mt", "ray"])
    parser.add_argument("--max_restarts", required=True, type=int)
    parser.add_argument("--private_network", action="store_true")
    parser.add_argument("--ray_address")
    parser.add_argument("--ray_resources", action="append", default=[])
    options = parser.parse_args(arguments)

    open_network = ""
    if options.private_network and options.launch_type != "ray":
        # First of all: what is imported below may start threads, which must not be there then.
        try:
            private_network.enter()
        except OSError as error:
            open_network = (
                "nodes listen on all network interfaces, since this system does not allow private "
                f"networks ({error.strerror}); see docs/cluster.md, security"
            )

    if options.launch_type == "local_mp":
        try:
            forking.prepare(common_environment())
        except OSError as error:
            print(error)
            return 1

    from launch_programs.launching import local_launch
    from launch_programs.launching.supervisor import ProgramFailed
    from launch_programs.run.failure_log import FailureLog
    from launch_programs.run.run_directory import RunDirectory

    directory = RunDirectory(options.logdir)
    config = directory.read_config()
    failures = FailureLog(directory)
    if open_network:
        failures.add("launcher", open_network)
    if options.launch_type == "local_mt":
        from launch_programs.nodes.program import make_program

        _run_threads(make_program(config, directory))
        # Launchpad's launcher does not say why it ended.
        steps = directory.read_last_checkpoint() or 0
        total = config.agent.total_environment_frames
        return 0 if steps * config.agent.frames_per_update >= total else STOPPED
    stop = threading.Event()
    _stop_with_parent()
    logs = directory.logs.absolute()
    try:
        if options.launch_type == "ray":
            _show_ray_token()
            from launch_programs.launching import ray_launch
            from launch_programs.nodes.program import make_program

            ray_launch.connect(options.ray_address)
            signal.signal(signal.SIGTERM, lambda signum, frame: stop.set())  # not Ray's own
            resources = ray_launch.parse_resources(options.ray_resources)
            finished = ray_launch.run(
                lambda: make_program(config, directory),
                resources,
                logs,
                options.max_restarts,
                failures,
                stop,
            )
        else:
            signal.signal(signal.SIGTERM, lambda signum, frame: stop.set())
            finished = local_launch.run(
                directory,
                config.cores_per_actor,
                options.max_restarts,
                failures.add_restart,
                stop,
            )
    except ProgramFailed as failure:
        print(failure, f"--- {logs / failure.node}", _last_lines(failure.output), sep="\n")
        return 1
    except ConnectionError as error:  # there is no such Ray cluster
        print(error)
        return 1
    return 0 if finished else STOPPED


def _show_ray_token() -> None:
    """Lets Ray show its token, if there is one, to clusters that ask for it.

    `ray start` asks for it as soon as there is one, but a program shows it only if it is told to,
    before it imports Ray. A cluster that asks for none does not mind.
    """
    file = pathlib.Path("~/.ray/auth_token").expanduser()
    if {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ) or file.exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _last_lines(output: str) -> str:
    """The end of what a node printed."""
    return "\n".join(output.splitlines()[-_SHOWN_LINES:])


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
    standard_streams.set_up()  # `train` reads it, and may be killed
    sys.exit(main(sys.argv[1:]))
