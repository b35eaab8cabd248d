"""Trains an agent: `python -m launch_programs.train --level_name=atari3`.

Checks the flags, starts the Launchpad program, prints its progress, and evaluates the result.
Ctrl-C or SIGTERM saves a checkpoint and ends it; the same --logdir resumes it.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from absl import flags

from launch_programs import command_line, plot, preparing, vertex
from launch_programs import flags as run_flags
from launch_programs.flags import define_run_flags
from launch_programs.preparing import claim, describe, resolve_run
from launch_programs.process_environments import process_environments
from launch_programs.program import make_program
from launch_programs.run_config import RunConfig
from launch_programs.run_directory import RunDirectory
from launch_programs.vertex import LEARNER_GPUS

FLAGS = flags.FLAGS

# A program that is asked to stop saves its checkpoint within seconds; the launcher kills after 11.
_KILL_AFTER = 14.0


def define_flags() -> None:
    """Defines the flags of this program."""
    define_run_flags()
    flags.adopt_module_key_flags(run_flags)  # so that --help shows them
    preparing.define_logdir_flag()
    flags.adopt_module_key_flags(preparing)
    flags.DEFINE_enum(
        "launch_type",
        "local_mp",
        ["local_mp", "local_mt", "ray", "vertex_ai"],
        "Nodes as processes of this machine (local_mp), as threads of one process (local_mt), as "
        "processes on the hosts of a Ray cluster (ray; docs/cluster.md), or on machines of Vertex "
        "AI (vertex_ai; docs/vertex.md).",
    )
    flags.DEFINE_bool(
        "private_network",
        True,
        "Gives a program on this machine a network that nothing else reaches, and that reaches "
        "nothing else; off for environments that need the network.",
    )
    flags.DEFINE_string(
        "ray_address",
        "auto",
        "Ray cluster: HOST:PORT of its head, auto for the one that this machine belongs to, local "
        "for a new one of this machine only.",
    )
    flags.DEFINE_multi_string(
        "ray_resources",
        [],
        "What each node of a group asks of a Ray host, such as learner:CPU=4,GPU=1; any resource "
        "of the cluster's. Groups: coordinator (on this machine), learner, queue, actor, "
        "evaluator; by default CPU=1, for the coordinator CPU=0.",
    )
    flags.DEFINE_integer(
        "max_restarts",
        5,
        "Times in ten minutes that an actor, or the evaluator, that died is started again before "
        "the program stops; with Ray, also the whole program from its last checkpoint.",
        lower_bound=0,
    )
    flags.DEFINE_enum(
        "vertex_learner_gpu",
        None,
        list(LEARNER_GPUS),
        "GPU of the learner on Vertex AI; by default none.",
    )
    flags.DEFINE_integer(
        "test_num_episodes",
        3,
        "Episodes per task that the result is evaluated with at the end; 0 for no evaluation.",
        lower_bound=0,
    )


class Program:
    """The launcher as a child process."""

    def __init__(self, directory: RunDirectory, arguments: Sequence[str], lock: int):
        """Starts it.

        Args:
          directory: of the run, with its configuration written.
          arguments: of the launcher, besides the directory.
          lock: descriptor of the run directory's lock, which the launcher keeps too.
        """
        self._progress = directory.progress
        self._shown = self._progress.stat().st_size if self._progress.exists() else 0
        self._kill_time: float | None = None
        with directory.launcher_log.open("w") as log:
            # A session of its own: Ctrl-C reaches only this process, which stops the program in
            # order.
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "launch_programs.launcher",
                    f"--logdir={directory.path}",
                    *arguments,
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[lock],
            )

    @property
    def interrupted(self) -> bool:
        """Whether a stop was asked for."""
        return self._kill_time is not None

    def stop(self, signum: int, frame: FrameType | None) -> None:
        """Signal handler: the first signal asks the program to stop, the second one kills it."""
        del frame
        if self._kill_time is None:
            name = signal.Signals(signum).name
            print(f"\n{name}: saving a checkpoint and stopping. Once more to kill.", flush=True)
            self._kill_time = time.monotonic() + _KILL_AFTER
            self._process.terminate()
        else:
            command_line.kill_program(self._process.pid)

    def wait(self) -> int:
        """Prints progress until the program has ended; returns the launcher's exit code."""
        while self._process.poll() is None:
            time.sleep(0.2)
            self._print_progress()
            if self._kill_time is not None and time.monotonic() > self._kill_time:
                command_line.kill_program(self._process.pid)
        # A launcher that was killed could not end its nodes.
        command_line.kill_program(self._process.pid)
        self._print_progress()
        return self._process.returncode

    def _print_progress(self) -> None:
        if not self._progress.exists():
            return
        with self._progress.open("rb") as file:
            file.seek(self._shown)
            text = file.read()
        complete = text[: text.rfind(b"\n") + 1]
        self._shown += len(complete)
        print(complete.decode(), end="", flush=True)


def launcher_flags() -> list[str]:
    """The flags that the launcher gets as they are, checked.

    Raises:
      ValueError: a flag's value is not acceptable, or the launcher that it asks for not installed.
    """
    if FLAGS.launch_type == "ray":
        try:
            from launch_programs.ray_launch import check_address, parse_resources
        except ModuleNotFoundError as error:
            raise ValueError(
                f"launch_type='ray': needs the package {error.name}: install the extra [ray]"
            ) from error
        parse_resources(FLAGS.ray_resources)
        check_address(FLAGS.ray_address)
    if FLAGS.launch_type == "vertex_ai":
        vertex.check(FLAGS.logdir or "")
    return [
        f"--launch_type={FLAGS.launch_type}",
        f"--max_restarts={FLAGS.max_restarts}",
        *(["--private_network"] if FLAGS.private_network else []),
        f"--ray_address={FLAGS.ray_address}",
        *(f"--ray_resources={value}" for value in FLAGS.ray_resources),
    ]


def _check_queues(config: RunConfig) -> None:
    """Complains of a run that the launcher cannot start.

    Raises:
      ValueError: it is one.
    """
    if FLAGS.launch_type == "vertex_ai" and config.num_queues == 0:
        raise ValueError(
            "num_queues=0: must be at least 1 with launch_type='vertex_ai': each node has one port "
            "there, so the learner's process has none for a queue"
        )


def main(argv: list[str]) -> int:
    """Entry point; returns the exit code: 1 if a node failed, 2 for bad input, 130 on a stop."""
    command_line.set_up_process()
    try:
        command_line.reject_positional_arguments(argv)
        resumed = FLAGS.logdir is not None and RunDirectory(FLAGS.logdir).config.exists()
        arguments = launcher_flags()
        config, directory = resolve_run()
        _check_queues(config)
        lock, num_params = claim(config, directory)
    except (ValueError, OSError) as error:
        command_line.fail(error)
    print(describe(config, directory, num_params, resumed), flush=True)
    if FLAGS.launch_type == "vertex_ai":
        environments = process_environments(config.cores_per_actor)
        vertex.launch(
            make_program(config, directory), environments["learner"], FLAGS.vertex_learner_gpu
        )
        print("The job is submitted; its run directory will show how it goes.")
        return 0
    program = Program(directory, arguments, lock)
    signal.signal(signal.SIGINT, program.stop)
    signal.signal(signal.SIGTERM, program.stop)
    code = program.wait()
    resume = f"To resume: python -m launch_programs.train --logdir={directory.path}"
    if program.interrupted:
        if code == 1:  # not all has ended as it should: the last checkpoint may be missing
            print(command_line.failures(directory))
        print(f"Interrupted. {resume}")
        return 130
    if code != 0:
        print(f"The program failed.\n{command_line.failures(directory)}\n{resume}")
        return 1
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if FLAGS.test_num_episodes:
        from launch_programs.evaluate import evaluate

        try:
            evaluate(directory, episodes=FLAGS.test_num_episodes, greedy=False, seed=config.seed)
        except (ValueError, OSError) as error:  # the learner's disk may be another one than ours
            print(f"The run has finished, but cannot be evaluated here: {error}")
            return 1
    _draw(directory)
    return 0


def _draw(directory: RunDirectory) -> None:
    """Draws the finished run, and says where the figures are; that they fail is no failed run."""
    try:
        if plot.draw_run(directory):
            print(f"Plots in {directory.plots}")
    except (ValueError, OSError) as error:
        print(f"The run has finished, but cannot be drawn: {error}")


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
