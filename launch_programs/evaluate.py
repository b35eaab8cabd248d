"""Evaluates a run's newest checkpoint: `python -m launch_programs.evaluate --logdir=RUN`.

Plays every task in Acme's EnvironmentLoop, prints returns and human-normalised scores, and writes
them into the run directory.
"""

import csv
import itertools
import sys
import time

from absl import flags
from rich.console import Console
from rich.table import Table

from environments import check_tasks, parse_level_name
from launch_programs import command_line
from launch_programs.checkpointing import SavedPolicy, restore_policy
from launch_programs.evaluation import (
    Aggregate,
    FixedVariables,
    TaskPlayer,
    TaskScore,
    aggregate,
    score,
)
from launch_programs.parts import make_builder
from launch_programs.run_config import RunConfig
from launch_programs.run_directory import RunDirectory, write_json

FLAGS = flags.FLAGS

# Seconds between lines of a brief evaluation.
_BRIEF_SECONDS = 10.0


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_string("logdir", None, "Run directory to evaluate.", required=True)
    flags.DEFINE_string(
        "level_name",
        None,
        "Tasks or suite to play, of those that the run was trained on; by default all of them.",
    )
    flags.DEFINE_integer("test_num_episodes", 10, "Episodes per task.", lower_bound=1)
    flags.DEFINE_bool("greedy", False, "Takes the likeliest actions instead of sampling.")
    flags.DEFINE_integer("seed", 1, "Seed of games and actions.", lower_bound=0)


def load(directory: RunDirectory) -> tuple[RunConfig, SavedPolicy]:
    """A run's configuration and newest policy.

    Raises:
      ValueError: the directory has no run or no checkpoint.
    """
    return directory.read_config(), restore_policy(directory)


def select_tasks(config: RunConfig, level_name: str | None) -> list[int]:
    """Indices of the tasks to play.

    Raises:
      ValueError: a task is unknown, or the run was not trained on it.
    """
    if level_name is None:
        return list(range(len(config.tasks)))
    names = [task.name for task in parse_level_name(level_name)]
    foreign = [name for name in names if name not in config.tasks]
    if foreign:
        raise ValueError(
            f"level_name={level_name!r}: the run was not trained on {', '.join(foreign)}; its "
            f"tasks are {', '.join(config.tasks)}"
        )
    return [config.tasks.index(name) for name in names]


def evaluate(
    directory: RunDirectory,
    *,
    episodes: int,
    greedy: bool,
    seed: int,
    level_name: str | None = None,
    brief: bool = False,
) -> list[TaskScore]:
    """Plays, prints, and writes evaluation-STEPS[-greedy][-N].json and .csv.

    Args:
      directory: of the run.
      episodes: per task, at least 1.
      greedy: takes the likeliest actions instead of sampling.
      seed: of games and actions.
      level_name: tasks to play, all by default.
      brief: prints tasks as they are done every ten seconds only, for the table has them all.

    Returns:
      The scores, in the order of the tasks.

    Raises:
      ValueError: there is no checkpoint, or a task is not the run's.
    """
    config, policy = load(directory)
    indices = select_tasks(config, level_name)
    tasks = config.task_list()
    builder = make_builder(config)
    source = FixedVariables(policy)
    how = "greedy" if greedy else "sampled"
    print(
        f"Evaluating {directory.path} at {policy.frames:,} frames: {episodes} episodes per task, "
        f"{how} actions",
        flush=True,
    )
    scores = []
    pause = _BRIEF_SECONDS if brief else 0.0
    next_line = time.monotonic() + pause
    attention: dict[str, list[float]] = {}
    for index in indices:
        started = time.monotonic()
        player = TaskPlayer(config, builder, index, source, greedy=greedy, seed=seed)
        returns = [player.play().episode_return for _ in range(episodes)]
        player.close()
        if player.mean_attention is not None:
            attention[tasks[index].name] = player.mean_attention
        scores.append(score(tasks[index], returns))
        seconds = time.monotonic() - started
        if time.monotonic() >= next_line:
            mean = f"{scores[-1].mean:,.1f}"
            print(f"  {tasks[index].name}: mean {mean} ({seconds:.0f} s)", flush=True)
            next_line = time.monotonic() + pause
    total = aggregate(scores)
    _print(scores, total, reference="optimum" if tasks[0].domain == "toy" else "human")
    if attention:
        _print_attention(attention)
    _write(directory, policy, scores, total, attention, greedy=greedy, seed=seed)
    return scores


def _print(scores: list[TaskScore], total: Aggregate | None, reference: str) -> None:
    table = Table("task", title=None)
    for column in ("episodes", "mean", "std", "random", reference, "normalised %"):
        table.add_column(column, justify="right")
    for s in scores:
        table.add_row(
            s.task,
            str(s.episodes),
            *(
                "-" if x is None else f"{x:,.1f}"
                for x in (s.mean, s.standard_deviation, s.random, s.human)
            ),
            "-" if s.human_normalised is None else f"{s.human_normalised:.1f}",
        )
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 100)
    console.print(table)
    if total is None:
        return
    console.print(
        f"{reference}-normalised over tasks: mean {total.mean:.1f} %, median {total.median:.1f} %, "
        f"capped mean {total.capped_mean:.1f} %",
        highlight=False,
    )


def _print_attention(attention: dict[str, list[float]]) -> None:
    subnets = len(next(iter(attention.values())))
    table = Table("attention, mean over steps")
    for subnet in range(subnets):
        table.add_column(f"sub-network {subnet}", justify="right")
    for task, weights in attention.items():
        table.add_row(task, *(f"{weight:.3f}" for weight in weights))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 40 + 17 * subnets).print(table)


def _write(
    directory: RunDirectory,
    policy: SavedPolicy,
    scores: list[TaskScore],
    total: Aggregate | None,
    attention: dict[str, list[float]],
    *,
    greedy: bool,
    seed: int,
) -> None:
    stem = _free_stem(directory, f"evaluation-{policy.steps}{'-greedy' if greedy else ''}")
    write_json(
        directory.path / f"{stem}.json",
        {
            "learner_steps": policy.steps,
            "frames": policy.frames,
            "greedy": greedy,
            "seed": seed,
            "tasks": [s._asdict() for s in scores],
            "human_normalised": None if total is None else total._asdict(),
            **({"attention": attention} if attention else {}),
        },
    )
    with (directory.path / f"{stem}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(TaskScore._fields)
        writer.writerows(scores)
    print(f"written to {directory.path}/{stem}.json and .csv")


def _free_stem(directory: RunDirectory, stem: str) -> str:
    """`stem`, or with -2, -3, ... behind it if an earlier evaluation of the checkpoint has it."""
    names = itertools.chain([stem], (f"{stem}-{n}" for n in itertools.count(2)))
    return next(name for name in names if not (directory.path / f"{name}.json").exists())


def main(argv: list[str]) -> None:
    """Entry point."""
    directory = RunDirectory(FLAGS.logdir)
    command_line.set_up_process()
    try:
        command_line.reject_positional_arguments(argv)
        config, _ = load(directory)
        select_tasks(config, FLAGS.level_name)
        check_tasks(config.task_list(), atari=config.atari)
    except (ValueError, OSError) as error:
        command_line.fail(error)
    evaluate(
        directory,
        episodes=FLAGS.test_num_episodes,
        greedy=FLAGS.greedy,
        seed=FLAGS.seed,
        level_name=FLAGS.level_name,
    )


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
