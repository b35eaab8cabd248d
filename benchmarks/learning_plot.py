"""The figure of `benchmarks.learning`."""

import pathlib
import statistics
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.comparisons import Comparison
from benchmarks.verdicts import Run, spread, task_mean
from launch_programs.views.figure_style import format_frames, line_style


def plot(
    results: Sequence[tuple[Comparison, Mapping[str, Sequence[Run]]]], path: pathlib.Path
) -> None:
    """Draws a panel of learning curves per comparison, and one of how a first task is retained.

    Args:
      results: comparisons, each with its runs by configuration, one per seed.
      path: the PNG file to write.
    """
    with_first_task = [result for result in results if _evaluated(result[1])]
    panels = len(results) + len(with_first_task)
    columns = min(panels, 3)
    rows = -(-panels // columns)
    figure = Figure(figsize=(5.2 * columns, 4.0 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[panels:]:
        unused.remove()
    for axis, (comparison, runs) in zip(axes, results, strict=False):
        _curves(axis, comparison, runs)
    for axis, (_, runs) in zip(axes[len(results) :], with_first_task, strict=False):
        _first_task(axis, runs)
    figure.suptitle("Mean over tasks; line: mean over seeds, band or bar: lowest to highest seed")
    figure.savefig(path, dpi=100)


def _evaluated(runs: Mapping[str, Sequence[Run]]) -> dict[str, Sequence[Run]]:
    """The configurations that were evaluated on a first task after each phase."""
    return {name: seeds for name, seeds in runs.items() if len(seeds[0]) > 1}


def _curves(axis: Axes, comparison: Comparison, runs: Mapping[str, Sequence[Run]]) -> None:
    for number, (name, seeds) in enumerate(runs.items()):
        curves = zip(*(task_mean(run[-1]) for run in seeds), strict=True)
        # Bins without an episode of some task, which only very short runs have, are left out.
        points = [
            (frames, spread(values))
            for frames, values in zip(seeds[0][-1]["frames"], curves, strict=True)
            if None not in values
        ]
        x = [frames for frames, _ in points]
        style = line_style(number)
        axis.plot(x, [s.mean for _, s in points], label=name, **style)
        low, high = [s.low for _, s in points], [s.high for _, s in points]
        axis.fill_between(x, low, high, color=style["color"], alpha=0.2, linewidth=0)
    axis.set_title(comparison.title)
    axis.set_xlabel("environment frames")
    axis.set_ylabel("normalised return (random 0, optimum 1)")
    format_frames(axis)
    axis.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    axis.axhline(1, color="0.7", linewidth=0.8, zorder=0)
    axis.legend(loc="best", frameon=False)


def _first_task(axis: Axes, runs: Mapping[str, Sequence[Run]]) -> None:
    evaluated = _evaluated(runs)
    for number, (name, seeds) in enumerate(evaluated.items()):
        phases = [
            spread([statistics.fmean(run[i]["evaluation"].values()) for run in seeds])
            for i in range(2)
        ]
        errors = [[s.mean - s.low for s in phases], [s.high - s.mean for s in phases]]
        axis.errorbar(
            [0, 1],
            [s.mean for s in phases],
            errors,
            marker="o",
            capsize=4,
            label=name,
            **line_style(number),
        )
    axis.set_title("The first task's return")
    axis.set_xticks([0, 1], ["before the second task", "after it"])
    axis.set_xlim(-0.3, 1.3)
    axis.set_ylabel("normalised return (random 0, optimum 1)")
    axis.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    axis.axhline(1, color="0.7", linewidth=0.8, zorder=0)
    axis.legend(loc="best", frameon=False)
