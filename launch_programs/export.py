"""Exports a run's policy as one file: `python -m launch_programs.export --logdir=RUN`.

The file contains the newest checkpoint's parameters and PopArt statistics. Loading it needs only
JAX and Haiku (`agents.popart_impala.load_policy`).
"""

import dataclasses
import pathlib
import shlex

import numpy as np
from absl import flags

from agents.popart_impala.policy_file import PolicyInfo, save_policy
from agents.popart_impala.popart import configured_scale
from environments import StackedFrames, check_tasks, suite_name
from environments.families import FAMILIES
from launch_programs.console import command_line
from launch_programs.run.checkpointing import restore_policy
from launch_programs.run.parts import environment_spec
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory, check_output, user_path

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_string("logdir", None, "Run directory to export from.", required=True)
    flags.DEFINE_string(
        "output",
        None,
        "File to write, which must not exist; by default RUN/SUITE-STEPS.policy.npz, STEPS being "
        "the learner's.",
    )
    flags.DEFINE_bool(
        "float16", False, "Writes weights with half the precision: the file is half as large."
    )


def export(directory: RunDirectory, output: str | None, *, float16: bool = False) -> pathlib.Path:
    """Writes a run's newest policy to a file.

    Args:
      directory: the run directory.
      output: path of the file; by default in the run directory, named by suite and learner steps.
      float16: writes weights with half the precision.

    Returns:
      The file's path.

    Raises:
      ValueError: there is no run or no checkpoint, its tasks cannot be played here, or the file
        already exists.
      OSError: a file cannot be read or written.
    """
    config = directory.read_config()
    policy = restore_policy(directory)
    tasks = config.task_list()
    check_tasks(tasks, atari=config.atari)
    path = pathlib.Path(
        directory.path / f"{suite_name(tasks)}-{policy.steps}.policy.npz"
        if output is None
        else user_path(output)
    )
    check_output(path.parent)
    spec = environment_spec(config)
    features = spec.observations.features
    info = PolicyInfo(
        config=config.agent,
        observation_shape=features.shape,
        observation_dtype=np.dtype(features.dtype),
        stacked=isinstance(features, StackedFrames),
        num_actions=spec.actions.num_values,
        tasks=config.tasks,
        learner_steps=policy.steps,
        frames=policy.frames,
        environment=_environment(config),
    )
    scale = configured_scale(policy.popart, config.agent)
    try:
        save_policy(path, info, policy.params, scale, float16=float16)
    except FileExistsError:
        raise ValueError(f"{path} exists already: give another name as --output") from None
    return path


def _environment(config: RunConfig) -> dict[str, object]:
    """Options of the environments to play in."""
    if not FAMILIES[config.task_list()[0].domain].has_options:
        return {}
    # Whole games are played, even if training ended episodes at the loss of a life.
    return dataclasses.asdict(dataclasses.replace(config.atari, life_loss=False))


def main(argv: list[str]) -> None:
    """Entry point."""
    command_line.set_up_process()
    try:
        command_line.reject_positional_arguments(argv)
        path = export(RunDirectory(FLAGS.logdir), FLAGS.output, float16=FLAGS.float16)
    except (ValueError, OSError) as error:
        command_line.fail(error)
    print(f"written to {path}: {path.stat().st_size:,} bytes")
    print(f"load it with: agents.popart_impala.load_policy({str(path)!r})")
    print(f"play it with: {shlex.join(['python', '-m', 'examples.play_exported', str(path)])}")


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
