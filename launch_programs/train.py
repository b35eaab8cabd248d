"""Trains an agent: `python -m launch_programs.train --level_name=atari3`.

Checks the flags, starts the Launchpad program, shows its progress, and evaluates the result.
Ctrl-C or SIGTERM saves a checkpoint and ends the run; the same --logdir resumes it.
"""

import importlib.util
import shlex
import signal
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from launch_programs.console import command_line
from launch_programs.launching import backends, launcher
from launch_programs.launching.addresses import check_localhost
from launch_programs.launching.launcher_child import LauncherChild
from launch_programs.run.failure_log import FailureLog
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory
from launch_programs.run.training_status import StatusFollower, TrainingStatus
from launch_programs.screen.disk_watch import DiskWatch
from launch_programs.screen.node_output import NodeOutput
from launch_programs.screen.progress import open_screen
from launch_programs.screen.run_follower import Follower, ProgressLog
from launch_programs.settings import flags as run_flags
from launch_programs.settings import preparing
from launch_programs.settings.flags import define_run_flags
from launch_programs.settings.preparing import claim, describe, nothing_to_do, resolve_run
from launch_programs.views.drawing import draw_run

if TYPE_CHECKING:  # they take seconds to import
    from environments.scores import TaskScore
    from launch_programs.views.wandb_mirror import WandbMirror

FLAGS = flags.FLAGS

# Seconds between polls of the run directory.
_POLL_SECONDS = 0.25


def define_flags() -> None:
    """Defines the flags of this program."""
    define_run_flags()
    flags.adopt_module_key_flags(run_flags)  # so that --help shows them
    preparing.define_logdir_flag()
    flags.adopt_module_key_flags(preparing)
    backends.define_flags()
    flags.adopt_module_key_flags(backends)
    flags.DEFINE_integer(
        "test_num_episodes",
        3,
        "Episodes per task in the evaluation at the end; 0 for no evaluation.",
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
        "Also sends the metrics to Weights & Biases (extra [wandb]), configured by its own "
        "variables: WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE=offline and others.",
    )


def _check_wandb() -> None:
    """Rejects `--wandb` where it is not available.

    Raises:
      ValueError: the flag is given but cannot be honoured.
    """
    if not FLAGS.wandb:
        return
    if importlib.util.find_spec("wandb") is None:
        raise ValueError("wandb=True: needs the package wandb: install the extra [wandb]")
    if backends.chosen().HANDS_OVER:
        raise ValueError(
            f"wandb=True: not with launch_type={FLAGS.launch_type!r}, where the run outlives this "
            "program; its run directory has TensorBoard's files"
        )


def _given(names: Sequence[str]) -> list[str]:
    """The named flags that were given, as on the command line."""
    given = [FLAGS[name].serialize() for name in names if FLAGS[name].present]
    return [flag for flags_of_name in given for flag in flags_of_name.splitlines()]


def main(argv: list[str]) -> int:
    """Entry point; returns the exit code: 1 if a node failed, 2 for bad input, 130 on a stop."""
    command_line.set_up_process()
    try:
        command_line.reject_positional_arguments(argv)
        resumed = FLAGS.logdir is not None and RunDirectory(FLAGS.logdir).config.exists()
        config, directory = resolve_run()
        backend = backends.chosen()
        backend.check(config, FLAGS.logdir or "")
        _check_wandb()
        if done := nothing_to_do(config, directory):
            print(done)
            return 0
        if not backend.HANDS_OVER:
            check_localhost()
        directory, lock, num_params = claim(config, directory)
        arguments = _given(backends.flag_names())
        directory.write_launch("train", [*arguments, *_given(("test_num_episodes", "wandb"))])
        mirror = _wandb_mirror(config, directory)
    except (ValueError, OSError) as error:
        command_line.fail(error)
    if FLAGS.quiet:
        print(f"run directory {directory.path}", flush=True)
    else:
        print(describe(config, directory, num_params, resumed), flush=True)
    if backend.HANDS_OVER:
        backend.run(directory, FailureLog(directory), threading.Event())
        print("The job is submitted; its run directory will show how it goes.")
        return 0
    if mirror is not None and not FLAGS.quiet:
        print(f"  Weights & Biases: {mirror.where}", flush=True)
    exit_code, scores = _train(config, directory, arguments, lock, mirror)
    if mirror is not None:
        mirror.finish(exit_code, scores)
    return exit_code


def _wandb_mirror(config: RunConfig, directory: RunDirectory) -> "WandbMirror | None":
    """Opens the run at Weights & Biases if asked for; raises ValueError if that is refused."""
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
    """Runs the program and reports how it ended; evaluates and plots a finished run.

    Args:
      config: see `run_program`, as for all arguments.
      directory: the run directory.
      arguments: the launcher's arguments.
      lock: descriptor of the run directory's lock.
      mirror: also receives the metrics.

    Returns:
      The exit code, and the scores if the run was evaluated.
    """
    code, interrupted, cause = run_program(config, directory, arguments, lock, mirror)
    resume = f"To resume: {directory.resume_command()}"
    if code == launcher.STOPPED and not interrupted:
        print("Something else than this program has ended it, by SIGTERM of its launcher.")
        interrupted = True
    if interrupted:
        if code == 1:  # something went wrong at the end: the last checkpoint may be missing
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
            ).tasks
        except (ValueError, OSError) as error:  # the learner's disk may not be ours
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
    """Plots the finished run and says where; a failure here does not fail the run."""
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
    """Runs the program to its end and shows its progress.

    SIGINT and SIGTERM stop the program; afterwards their default handlers are restored.

    Args:
      config: the run.
      directory: the run directory, with the configuration written.
      arguments: the launcher's arguments, besides the directory.
      lock: descriptor of the run directory's lock.
      mirror: forwards the program's metrics, in addition to the screen.

    Returns:
      The launcher's exit code, whether the program was asked to stop, and what the launcher says
      about a failure.
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
    program = LauncherChild(directory, arguments, lock)
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
            output.told(program.failures())  # printed below the screen by our caller
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
