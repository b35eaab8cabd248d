"""Prepares a run, new or resumed, before any node starts."""

import shlex

from absl import flags

from environments import check_tasks, sticky_names, suite_name
from environments.trial import largest_feature
from launch_programs.run.checkpointing import Checkpointer
from launch_programs.run.parts import make_run_networks
from launch_programs.run.run_config import RunConfig, contradictions
from launch_programs.run.run_directory import RunDirectory, default_path, make_new
from launch_programs.settings.flags import describe_preset, resolve
from launch_programs.settings.growing import first_state

FLAGS = flags.FLAGS

# Observations with numbers above this deserve a note to the user.
_LARGE = 30.0

# With more tasks than this, their number is printed before training starts, not their names.
_LISTED_TASKS = 12


def define_logdir_flag() -> None:
    """Defines --logdir, which goes with the flags that define a run."""
    flags.DEFINE_string(
        "logdir",
        None,
        "Run directory; by default a new one under runs/. One with a run in it resumes that run.",
    )


def resolve_run() -> tuple[RunConfig, RunDirectory]:
    """The run that the flags ask for, and its directory; writes nothing.

    Raises:
      ValueError: a flag is invalid, or contradicts the run in the directory.
    """
    if FLAGS.logdir is not None:
        directory = RunDirectory(FLAGS.logdir)
        return _resolve_in(directory), directory
    config = resolve(None)
    return config, RunDirectory(default_path(suite_name(config.task_list())))


def nothing_to_do(config: RunConfig, directory: RunDirectory) -> str | None:
    """A message if the run already has all the frames that the flags ask for, else None.

    Args:
      config: configuration of the run, as `resolve_run` returns it.
      directory: directory of the run.
    """
    saved, asked = directory.saved_frames(config), config.agent.total_environment_frames
    if saved < asked:
        return None
    evaluate = ["python", "-m", "launch_programs.evaluate", f"--logdir={directory.path}"]
    return (
        f"nothing to do: the run has {saved:,} frames, and --total_environment_frames is "
        f"{asked:,}\nTo evaluate it: {shlex.join(evaluate)}"
    )


def claim(config: RunConfig, directory: RunDirectory) -> tuple[RunDirectory, int, int]:
    """Checks that a run can start, claims its directory, and writes its configuration there.

    Returns:
      The directory, with a number in its name if another run without --logdir was started in the
      same second; the descriptor of its lock; the network's number of parameters.

    Raises:
      ValueError: the network or the environments do not fit the tasks, or the directory cannot be
        used.
      OSError: a game's ROM is missing or the wrong one.
    """
    check_tasks(config.task_list(), atari=config.atari)
    notes = _describe_large(config)
    networks = make_run_networks(config)  # raises if they do not fit the observations
    grown = first_state(config, directory)
    if FLAGS.logdir is None:
        directory = RunDirectory(make_new(directory.path))
    directory.create()
    lock = directory.lock()
    directory.write_config(config)
    if notes:
        print("\n".join(notes), flush=True)
    if grown is not None:
        Checkpointer(directory.checkpoints).save(grown, {})
    return directory, lock, networks.num_params


def _resolve_in(directory: RunDirectory) -> RunConfig:
    """The run that the flags ask for, in a directory given by the user."""
    if not directory.config.exists():
        if directory.path.is_dir() and any(directory.path.iterdir()):
            raise ValueError(
                f"logdir={str(directory.path)!r}: is neither empty nor a run directory; give "
                "another"
            )
        return resolve(None)
    saved = directory.read_config()
    config = resolve(saved)
    differences = contradictions(saved, config)
    if differences:
        raise ValueError(
            f"the run in {directory.path} cannot be resumed with other settings: "
            f"{'; '.join(differences)}; leave these flags out, or give another --logdir"
        )
    return config


def _describe_large(config: RunConfig) -> list[str]:
    """Notes on tasks whose observations have numbers too large to learn well from."""
    return [
        f"note: {task.name} has observations up to {largest:,.0f}, which are not scaled: networks "
        "learn badly from large numbers; scale them to about 1 in the environment"
        for task in config.task_list()
        if (largest := largest_feature(task)) > _LARGE
    ]


def _describe_sticky(config: RunConfig) -> list[str]:
    """Notes a game whose name means sticky actions in Gym, unless they are on or a flag decides."""
    names = sticky_names(FLAGS.level_name) if FLAGS["level_name"].present else []
    option = "repeat_action_probability"
    if not names or FLAGS[option].present or config.atari.repeat_action_probability:
        return []
    return [f"note: {names[0]} is played without sticky actions; --{option}=0.25 gives them"]


def describe(config: RunConfig, directory: RunDirectory, num_params: int, resumed: bool) -> str:
    """The text printed before training starts."""
    agent = config.agent
    learned = [config.tasks[task] for task in config.learned_tasks]
    tasks = ", ".join(learned) if len(learned) <= _LISTED_TASKS else f"{len(learned)} tasks"
    network = agent.network + (" with LSTM" if agent.use_lstm else "")
    if config.grow_from is not None:
        network += f" grown from {config.grow_from}"
    return "\n".join(
        [
            *describe_preset(config),
            *_describe_sticky(config),
            f"{'Resuming' if resumed else 'Training'}: {tasks} "
            f"for {agent.total_environment_frames:,} frames",
            f"  network {network}, {num_params:,} parameters, "
            f"{'PopArt' if agent.popart else 'no PopArt'}, reward clipping {agent.reward_clipping}",
            f"  {config.num_actors} actors x {config.environments_per_actor} environments, "
            f"batches of {agent.batch_size} unrolls of {agent.unroll_length} steps",
            f"  run directory {directory.path} (metrics in *.csv, node output in logs/)",
        ]
    )
