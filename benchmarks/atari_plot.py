"""The figures of `benchmarks.atari`: scores against frames, and against minutes of training."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.atari_runs import Experiment
from benchmarks.atari_statistics import interquartile_mean
from environments import parse_level_name
from environments.task import Task
from launch_programs.views.figure_style import format_frames, line_style

# Points of an aggregated curve.
_POINTS = 60

_LABELS = {"frames": "environment frames", "minutes": "minutes of training"}


def draw(
    experiment: Experiment,
    results: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]],
    stem: pathlib.Path,
) -> None:
    """Draws STEM-frames.png and STEM-minutes.png, with a panel per task of each level name.

    Args:
      experiment: the experiment that the runs belong to.
      results: result files by level name and configuration, at least one.
      stem: path of the figures.
    """
    levels = [
        level_name
        for level_name in experiment.level_names
        if any(results[level_name, name] for name in experiment.configurations)
    ]
    panels = [(level_name, task) for level_name in levels for task in parse_level_name(level_name)]
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    for axis, label in _LABELS.items():
        figure = Figure(figsize=(5.2 * columns, 4.0 * rows), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for unused in axes[len(panels) :]:
            unused.remove()
        for axes_of_panel, (level_name, task) in zip(axes, panels, strict=False):
            runs = {name: results[level_name, name] for name in experiment.configurations}
            _panel(axes_of_panel, task, runs, axis)
            axes_of_panel.set_xlabel(label)
            if axis == "frames":
                format_frames(axes_of_panel)
        figure.suptitle(
            f"{experiment.title}\ninterquartile mean of (n) runs, 95 % bootstrap interval\n"
            "dashed grey: random play",
            fontsize="medium",
        )
        figure.savefig(stem.with_name(f"{stem.name}-{axis}.png"), dpi=100)


def _panel(
    axes: Axes, task: Task, runs: Mapping[str, Sequence[Mapping[str, Any]]], axis: str
) -> None:
    """Draws a line and a band for each configuration."""
    for number, (name, results) in enumerate(runs.items()):
        if not results:
            continue
        x, values = aligned([result["curve"] for result in results], task.name, axis)
        if not len(x):
            continue
        estimate = interquartile_mean(values[:, np.newaxis])
        style = line_style(number)
        axes.plot(x, estimate.iqm, label=f"{name} ({len(results)})", **style)
        axes.fill_between(
            x, estimate.low, estimate.high, color=style["color"], alpha=0.2, linewidth=0
        )
    if task.random_score is not None:
        axes.axhline(task.random_score, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
    axes.set_title(task.name)
    axes.set_ylabel("mean return of 100 episodes")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", frameon=False)


def aligned(
    curves: Sequence[Mapping[str, Any]], task: str, axis: str
) -> tuple[np.ndarray, np.ndarray]:
    """Interpolates several runs' scores at the same points.

    Args:
      curves: from result files, at least one.
      task: the task that the scores are of.
      axis: "frames" or "minutes".

    Returns:
      The points, float64 [P], evenly spaced over the range in which all runs have a score; and the
      scores, float64 [runs, P].
    """
    known = []
    for curve in curves:
        scores = np.array(curve["scores"][task], float)
        has = ~np.isnan(scores)
        known.append((np.array(curve[axis], float)[has], scores[has]))
    if not all(len(x) for x, _ in known):
        return np.zeros(0), np.zeros((len(curves), 0))
    begin, end = max(x[0] for x, _ in known), min(x[-1] for x, _ in known)
    if begin > end:
        return np.zeros(0), np.zeros((len(curves), 0))
    points = np.linspace(begin, end, _POINTS)
    return points, np.array([np.interp(points, x, scores) for x, scores in known])
