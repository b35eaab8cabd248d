"""A run's learning curve: `python -m benchmarks.run_curve --logdir=RUN --output=PATH`.

Writes PATH.csv, the mean return of every 20 training episodes of each task with the frames at their
end, and PATH.png, the same as a figure with random play.
"""

import csv
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from absl import app, flags
from matplotlib.figure import Figure

from environments import parse_level_name
from launch_programs.figure_style import format_frames, line_style
from launch_programs.history import Episodes, read_history

FLAGS = flags.FLAGS

EPISODES = 20  # of which a point is the mean


class Point(NamedTuple):
    """A mean over consecutive episodes of one task."""

    task: str
    frames: int  # at the end of the last of them
    mean_return: float


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_string("logdir", None, "Run directory.", required=True)
    flags.DEFINE_string("output", None, "Path of the files, without .csv and .png.", required=True)


def curve(episodes: Mapping[str, Episodes]) -> list[Point]:
    """Means of every `EPISODES` episodes, task by task; what is left over at the end is left out.

    Args:
      episodes: of each task.
    """
    return [
        Point(task, int(own.frames[end - 1]), float(own.returns[end - EPISODES : end].mean()))
        for task, own in episodes.items()
        for end in range(EPISODES, len(own) + 1, EPISODES)
    ]


def plot(points: Sequence[Point], path: pathlib.Path) -> None:
    """Draws a panel for each task into a PNG file."""
    tasks = list(dict.fromkeys(point.task for point in points))
    figure = Figure(figsize=(5.2 * len(tasks), 4.0), layout="constrained")
    for axis, task in zip(figure.subplots(1, len(tasks), squeeze=False).flat, tasks, strict=True):
        own = [point for point in points if point.task == task]
        axis.plot([p.frames for p in own], [p.mean_return for p in own], **line_style(0))
        random_score = parse_level_name(task)[0].random_score
        if random_score is None:
            axis.set_title(task)
        else:
            axis.axhline(random_score, color="0.6", linewidth=0.8, linestyle="--")
            axis.set_title(f"{task} (dashed: random play)")
        axis.set_xlabel("environment frames")
        axis.set_ylabel(f"mean return of {EPISODES} episodes")
        format_frames(axis)
    figure.savefig(path, dpi=100)


def main(argv: list[str]) -> None:
    """Reads, writes, draws."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    points = curve(read_history(FLAGS.logdir).actors)
    if not points:
        raise app.UsageError(
            f"logdir={FLAGS.logdir!r}: no task has {EPISODES} training episodes there"
        )
    with pathlib.Path(f"{FLAGS.output}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Point._fields)
        writer.writerows(points)
    plot(points, pathlib.Path(f"{FLAGS.output}.png"))
    last = {point.task: point for point in points}
    for point in last.values():
        print(f"{point.task}: {point.mean_return:.1f} at {point.frames:,} frames")


if __name__ == "__main__":
    define_flags()
    app.run(main)
