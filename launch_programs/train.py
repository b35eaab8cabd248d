"""Trains an agent: `python -m launch_programs.train --level_name=atari3`.

Checks the flags, starts the Launchpad program, shows how it goes, and evaluates the result.
Ctrl-C or SIGTERM saves a checkpoint and ends it; the same --logdir resumes it.
"""

import importlib.util
import shlex
import signal
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
from absl import flags

from launch_programs.console import command_line
from launch_programs.launching import launcher, vertex
from launch_programs.launching.addresses import check_localhost
from launch_programs.launching.process_environments import process_environments
from launch_programs.launching.program_process import ProgramProcess
from launch_programs.launching.vertex import LEARNER_GPUS
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory
from launch_programs.run.training_status import StatusFollower, TrainingStatus
from launch_programs.screen.disk_watch import DiskWatch
from launch_programs.screen.following import Follower, ProgressLog
from launch_programs.screen.node_output import NodeOutput
from launch_programs.screen.screen import open_screen
from launch_programs.settings import flags as run_flags
from launch_programs.settings import preparing
from launch_programs.settings.flags import define_run_flags
from launch_programs.settings.preparing import claim, describe, nothing_to_do, resolve_run
from launch_programs.views.drawing import draw_run

if TYPE_CHECKING:  # they take seconds to import
    from environments.scores import TaskScore
    from launch_programs.views.wandb_mirror import WandbMirror

FLAGS = flags.FLAGS

# Flags that say how a run is started, and are not in its configuration.
_LAUNCH_FLAGS = (
    "launch_type",
    "private_network",
    "ray_address",
    "ray_resources",
    "max_restarts",
    "test_num_episodes",
    "wandb",
)

# Seconds between looks at the run directory.
_POLL_SECONDS = 0.25


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
    flags.DEFINE_bool(
        "quiet",
        False,
        "Shows no progress: only the run directory, failures, warnings, and the result.",
    )
    flags.DEFINE_bool(
        "wandb",
        False,
        "Also sends the metrics to Weights & Biases (extra [wandb]), whose own variables say "
        "where to: WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE=offline and others.",
    )


def launcher_flags() -> list[str]:
    """The flags that the launcher gets as they are, checked.

    Raises:
      ValueError: a flag's value is not acceptable, or the launcher that it asks for not installed.
    """
    if FLAGS.launch_type == "ray":
        try:
            from launch_programs.launching.ray_launch import check_address, parse_resources
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


def _check_wandb() -> None:
    """Rejects `--wandb` where it is not available.

    Raises:
      ValueError: it is asked for, and cannot.
    """
    if not FLAGS.wandb:
        return
    if importlib.util.find_spec("wandb") is None:
        raise ValueError("wandb=True: needs the package wandb: install the extra [wandb]")
    if FLAGS.launch_type == "vertex_ai":
        raise ValueError(
            "wandb=True: not with launch_type='vertex_ai', where the run outlives this program; "
            "its run directory has TensorBoard's files"
        )


def _given_launch_flags() -> list[str]:
    """Those of `_LAUNCH_FLAGS` that were given, as on the command line."""
    given = [FLAGS[name].serialize() for name in _LAUNCH_FLAGS if FLAGS[name].present]
    return [flag for flags_of_name in given for flag in flags_of_name.splitlines()]


def _check_start(config: RunConfig) -> None:
    """Checks what the launcher needs of a run.

    Raises:
      ValueError: the launcher cannot start it.
    """
    if FLAGS.launch_type in ("local_mp", "local_mt"):
        # Of the CPU: this process leaves accelerators to the learner, which says the same of them.
        config.agent.num_minibatches(jax.local_device_count())
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
        _check_start(config)
        _check_wandb()
        if done := nothing_to_do(config, directory):
            print(done)
            return 0
        if FLAGS.launch_type != "vertex_ai":
            check_localhost()
        directory, lock, num_params = claim(config, directory)
        directory.write_launch("train", _given_launch_flags())
        mirror = _wandb_mirror(config, directory)
    except (ValueError, OSError) as error:
        command_line.fail(error)
    if FLAGS.quiet:
        print(f"run directory {directory.path}", flush=True)
    else:
        print(describe(config, directory, num_params, resumed), flush=True)
    if FLAGS.launch_type == "vertex_ai":
        from launch_programs.nodes.program import make_program

        environments = process_environments(config.cores_per_actor)
        vertex.launch(
            make_program(config, directory), environments["learner"], FLAGS.vertex_learner_gpu
        )
        print("The job is submitted; its run directory will show how it goes.")
        return 0
    if mirror is not None and not FLAGS.quiet:
        print(f"  Weights & Biases: {mirror.where}", flush=True)
    exit_code, scores = _train(config, directory, arguments, lock, mirror)
    if mirror is not None:
        mirror.finish(exit_code, scores)
    return exit_code


def _wandb_mirror(config: RunConfig, directory: RunDirectory) -> "WandbMirror | None":
    """The run at Weights & Biases, if it is asked for; raises ValueError if that refuses."""
    if not FLAGS.wandb:
        return None
    from launch_programs.views.wandb_mirror import WandbMirror

    return WandbMirror(config, directory)


def _train(
    config: RunConfig,
    directory: RunDirectory,
    arguments: Sequence[str],
    lock: int,
    mirror: Follower | None,
) -> tuple[int, Sequence["TaskScore"]]:
    """Runs the program and says how it ended; evaluates and draws what has finished.

    Args:
      config: this and all others as for `run_program`.
      directory: of the run.
      arguments: of the launcher.
      lock: of the run directory.
      mirror: besides the screen.

    Returns:
      The exit code, and the scores, if it was evaluated.
    """
    code, interrupted, cause = run_program(config, directory, arguments, lock, mirror)
    resume = f"To resume: {directory.resume_command()}"
    if code == launcher.STOPPED and not interrupted:
        print("Something else than this program has ended it, by SIGTERM of its launcher.")
        interrupted = True
    if interrupted:
        if code == 1:  # not all has ended as it should: the last checkpoint may be missing
            print(cause)
        print(f"Interrupted. {resume}")
        return 130, ()
    if code != 0:
        directory.note_failure(cause)
        print(f"The program failed.\n{cause}\n{resume}")
        return 1, ()
    scores: Sequence[TaskScore] = ()
    if FLAGS.test_num_episodes:
        from launch_programs.evaluate import evaluate

        try:
            scores = evaluate(
                directory,
                episodes=FLAGS.test_num_episodes,
                greedy=False,
                seed=config.seed,
                brief=True,
            )
        except (ValueError, OSError) as error:  # the learner's disk may be another one than ours
            print(f"The run has finished, but cannot be evaluated here: {error}")
            return 1, ()
        except KeyboardInterrupt:
            print(
                "Interrupted. The run has finished, and can be evaluated: python -m "
                f"launch_programs.evaluate --logdir={shlex.quote(str(directory.path))}"
            )
            return 130, ()
    _draw(directory)
    return 0, scores


def _draw(directory: RunDirectory) -> None:
    """Draws the finished run, and says where the figures are; that they fail is no failed run."""
    try:
        if draw_run(directory):
            print(f"Plots in {directory.plots}")
    except (ValueError, OSError) as error:
        print(f"The run has finished, but cannot be drawn: {error}")


def run_program(
    config: RunConfig,
    directory: RunDirectory,
    arguments: Sequence[str],
    lock: int,
    mirror: Follower | None,
) -> tuple[int, bool, str]:
    """Runs the program to its end and shows how it goes.

    SIGINT and SIGTERM stop it; afterwards they do what they do by default.

    Args:
      config: the run.
      directory: of the run, with the configuration written.
      arguments: of the launcher, besides the directory.
      lock: descriptor of the run directory's lock.
      mirror: passes on what it records, besides the screen.

    Returns:
      The launcher's exit code, whether the program was asked to stop, and what the launcher says
      of a failure.
    """
    status = TrainingStatus(config, since=time.time())
    screen = open_screen(status, str(directory.path), quiet=FLAGS.quiet)
    output = NodeOutput(directory, screen.message)
    followers: list[Follower] = [
        StatusFollower(directory, status),
        ProgressLog(directory, screen.progress, failure=[screen.message, output.told]),
        output,
        DiskWatch(directory, screen.message),
        *([] if mirror is None else [mirror]),
    ]
    program = ProgramProcess(directory, arguments, lock)
    signal.signal(signal.SIGINT, program.stop)
    signal.signal(signal.SIGTERM, program.stop)
    asked = False
    try:
        while (code := program.poll()) is None:
            for follower in followers:
                follower.update()
            if program.stopped_by and not asked:
                asked = True
                screen.message(
                    f"{program.stopped_by}: saving a checkpoint and stopping. Once more to kill."
                )
            screen.update()
            time.sleep(_POLL_SECONDS)
        if code not in (0, launcher.STOPPED):
            output.told(program.failures())  # printed below the screen
        for follower in followers:
            follower.close()
    finally:
        screen.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return code, program.stopped_by is not None, program.failures()


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
