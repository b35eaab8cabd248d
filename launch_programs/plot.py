"""Draws runs: `python -m launch_programs.plot RUN [RUN ...]`.

Writes these figures as PNG and SVG:

    returns       returns of training episodes, per task
    normalised    their median and mean over tasks, between random and human play (toy: optimal)
    popart_mu     PopArt's statistics, per task
    popart_sigma
    learner       losses, entropy, policy lag, frames per second and the like

They go to RUN/plots, or to plots if several runs are given. Runs that differ only in their seeds,
and in settings that do not affect learning, are drawn as one curve: their mean, with a band from
the lowest run to the highest. It can be called while runs are in progress.
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from environments.scores import RECENT_EPISODES
from launch_programs.console import command_line
from launch_programs.run.history import History, read_history
from launch_programs.run.run_directory import RunDirectory, user_path
from launch_programs.views.curves import Group, group
from launch_programs.views.drawing import draw

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_string(
        "output",
        None,
        "Directory of the figures; by default RUN/plots for one run, plots for several.",
    )
    flags.DEFINE_integer(
        "episodes",
        RECENT_EPISODES,
        "Training episodes of a task that a return is the mean of, the last ones at each point.",
        lower_bound=1,
    )


def draw_runs(
    paths: Sequence[str], output: str | None, episodes: int
) -> tuple[list[Group], list[pathlib.Path]]:
    """Draws one or several runs.

    Args:
      paths: run directories.
      output: directory of the figures; None for the default.
      episodes: number of episodes that a return is averaged over.

    Returns:
      The groups that the runs form, and the files.

    Raises:
      ValueError: there is nothing to draw, or the runs cannot be drawn together; see also
        `draw_run`.
      OSError: a file cannot be read or written.
    """
    if not paths:
        raise ValueError("no run directory given: python -m launch_programs.plot RUN [RUN ...]")
    resolved = [user_path(path).resolve() for path in paths]
    for number, path in enumerate(resolved):
        if path in resolved[:number]:
            raise ValueError(f"{paths[number]} is given more than once")
    histories = [read_history(path) for path in paths]
    for history in histories:
        if not history.frames:
            raise ValueError(f"{history.path} has no rows yet: nothing is there to draw")
    domains = {history.config.task_list()[0].domain: history for history in histories}
    if len(domains) > 1:
        examples = " and ".join(f"{h.path} ({domain})" for domain, h in domains.items())
        raise ValueError(f"runs of one domain can be drawn together, but these are not: {examples}")
    groups = group(histories)
    if output is not None:
        place = user_path(output)
    elif len(histories) == 1:
        place = RunDirectory(paths[0]).plots
    else:
        place = pathlib.Path("plots")
    return groups, draw(groups, place, episodes)


def ends(groups: Sequence[Group]) -> list[str]:
    """A line for every group with runs of unequal length: its curves end with the shortest.

    Args:
      groups: the groups that are drawn.
    """
    lines = []
    for drawn in groups:
        shortest = min(drawn.runs, key=_frames)
        longest = max(drawn.runs, key=_frames)
        if longest.frames > 1.02 * shortest.frames:
            lines.append(
                f"note: curves{f' of {drawn.label}' if drawn.label else ''} end where "
                f"{shortest.path} ends, at {shortest.frames:,} frames"
            )
    return lines


def _frames(history: History) -> int:
    return history.frames


def main(argv: list[str]) -> None:
    """Entry point."""
    command_line.set_up_process()
    try:
        groups, paths = draw_runs(argv[1:], FLAGS.output, FLAGS.episodes)
    except (ValueError, OSError) as error:
        command_line.fail(error)
    print("\n".join([*ends(groups), *(f"written to {path}" for path in paths)]))


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
