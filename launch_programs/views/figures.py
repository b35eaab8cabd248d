"""The figures of runs: returns, normalised scores, PopArt statistics, learner metrics."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from environments import Task
from launch_programs.run.evaluations import Evaluation
from launch_programs.run.history import History
from launch_programs.run.population import PopulationConfig, Row
from launch_programs.views import curves, figure_style
from launch_programs.views.curves import Group

# A reference score is drawn if its distance from the curves is at most this multiple of their
# height, and written as text otherwise.
_REACH = 1.0

_RANDOM: dict[str, Any] = {"color": "0.45", "linewidth": 0.8, "linestyle": (0, (1, 2))}
_HUMAN: dict[str, Any] = {"color": "0.45", "linewidth": 0.8, "linestyle": (0, (6, 3))}


# Sizes in the legend, in inches: average width of a letter, height of a line, width of the handle.
_LETTER_WIDTH = 0.065
_LINE_HEIGHT = 0.16
_HANDLE_WIDTH = 0.45


class _Panel(NamedTuple):
    column: str  # of learner.csv
    title: str
    logarithmic: bool = False
    from_zero: bool = False


_LEARNER_PANELS = (
    _Panel("loss", "loss"),
    _Panel("policy_gradient_loss", "policy gradient loss"),
    _Panel("baseline_loss", "baseline loss", logarithmic=True),
    _Panel("entropy", "entropy (nats)", from_zero=True),
    _Panel("gradient_norm", "gradient norm", logarithmic=True),
    _Panel("learning_rate", "learning rate", from_zero=True),
    _Panel("policy_lag_mean", "policy lag (learner steps)", from_zero=True),
    _Panel("rho_mean", "mean importance ratio"),
    _Panel("rho_clipped_fraction", "share of ratios clipped", from_zero=True),
    _Panel("frames_per_second", "frames per second", from_zero=True),
    _Panel("waiting_share", "share of time waiting for data", from_zero=True),
    _Panel("skipped_updates", "updates skipped", from_zero=True),
)


def draw(groups: Sequence[Group], window: int) -> dict[str, Figure]:
    """Draws all figures for which there is data.

    Must be called within `figure_style.settings`.

    Args:
      groups: groups of runs whose tasks are all from one domain.
      window: number of training episodes that each return is the mean of.

    Returns:
      Figures by name: those of "returns", "normalised", "popart_mu", "popart_sigma" and "learner"
      that have data.
    """
    histories = [history for group in groups for history in group.runs]
    at = curves.grid(histories)
    figures = {}
    if any(len(e) for history in histories for e in history.actors.values()):
        figures["returns"] = _returns(groups, window, at)
        normalised = _normalised(groups, window, at)
        if normalised is not None:
            figures["normalised"] = normalised
    if any(history.learner for history in histories):
        # Without PopArt the statistics stay 0 and 1.
        popart = [
            (number, group)
            for number, group in enumerate(groups)
            if group.runs[0].config.agent.popart
        ]
        if popart:
            for name in ("mu", "sigma"):
                figures[f"popart_{name}"] = _statistics(popart, name, at)
        figures["learner"] = _learner(groups, at)
    return figures


def draw_checkpoints(tasks: Sequence[Task], evaluations: Sequence[Evaluation]) -> dict[str, Figure]:
    """Draws the scores of several checkpoints, with error bars of twice the standard error.

    Must be called within `figure_style.settings`.

    Args:
      tasks: the tasks that were played.
      evaluations: evaluations on these tasks, oldest checkpoint first.

    Returns:
      The figure, under the name "checkpoints".
    """
    frames = np.array([evaluation.frames for evaluation in evaluations])
    figure, panels = _grid_of_panels(len(tasks), frames)
    small = len(tasks) > 24
    references: dict[str, Mapping[str, Any]] = {}
    for number, (axes, task) in enumerate(zip(panels, tasks, strict=True)):
        scores = [evaluation.tasks[number] for evaluation in evaluations]
        errors = [2 * s.standard_deviation / s.episodes**0.5 for s in scores]
        means = [s.mean for s in scores]
        style = figure_style.line_style(0)
        axes.errorbar(frames, means, errors, marker=".", ms=4, elinewidth=0.8, **style)
        axes.set_xlim(0, 1.05 * frames[-1])
        axes.set_title(task.name, loc="left", fontsize=6 if small else 8)
        references.update(_draw_references(axes, task, small))
    episodes = evaluations[0].tasks[0].episodes
    figure.supylabel(f"return (mean of {episodes} episodes)", fontsize=8)
    _legend(figure, [], [Line2D([], [], **style, label=name) for name, style in references.items()])
    return {"checkpoints": figure}


def draw_population(config: PopulationConfig, rows: Sequence[Row]) -> dict[str, Figure]:
    """Draws a population's scores and tuned settings against its members' frames.

    Where a member continued from another one, its line starts from the other's point.

    Must be called within `figure_style.settings`.

    Args:
      config: settings of the population.
      rows: rows of its table, at least one.

    Returns:
      The figure, under the name "population".
    """
    frames = np.array([row.frames for row in rows])
    figure, panels = _grid_of_panels(1 + len(config.ranges), np.sort(frames))
    found = {(row.interval, row.member): row for row in rows}
    values: list[tuple[str, Callable[[Row], float]]] = [
        ("score", lambda row: row.score),
        *((name, lambda row, name=name: row.tuned[name]) for name in config.ranges),
    ]
    for axes, (title, value) in zip(panels, values, strict=True):
        for row in rows:
            style = figure_style.line_style(row.member)
            before = found.get((row.interval - 1, row.parent))
            points = [row] if before is None else [before, row]
            axes.plot([p.frames for p in points], [value(p) for p in points], **style)
            axes.plot(row.frames, value(row), ".", ms=4, color=style["color"])
        axes.set_title(title.replace("_", " "), loc="left")
        if title != "score":
            _logarithmic(axes)
    _legend(
        figure,
        [],
        [
            Line2D([], [], **figure_style.line_style(member), label=f"member {member}")
            for member in range(config.members)
        ],
    )
    return {"population": figure}


def _tasks(groups: Sequence[Group]) -> list[Task]:
    """All tasks that any of the groups learns, each once."""
    found = {}
    for group in groups:
        config = group.runs[0].config
        found.update({config.tasks[i]: config.task_list()[i] for i in config.learned_tasks})
    return list(found.values())


def _grid_of_panels(panels: int, at: np.ndarray) -> tuple[Figure, list[Axes]]:
    """A figure with `panels` panels, none too small to read."""
    columns = (
        panels
        if panels <= 3
        else 2
        if panels == 4
        else 3
        if panels <= 12
        else 4
        if panels <= 24
        else 6
    )
    rows = -(-panels // columns)
    width = figure_style.COLUMN_WIDTH if panels == 1 else figure_style.PAGE_WIDTH
    height = {1: 2.4, 2: 2.2, 3: 1.7, 4: 1.4, 6: 0.95}[columns]
    figure = Figure(
        figsize=(width, rows * height + 0.25),
        layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03),
    )
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[panels:]:
        unused.remove()
    for number, axis in enumerate(axes[:panels]):
        axis.tick_params(labelbottom=number + columns >= panels)  # the lowest of each column
        figure_style.format_frames(axis)
        axis.xaxis.set_major_locator(MaxNLocator(3 if columns > 3 else 5))
        axis.set_xlim(0, at[-1])
        axis.yaxis.set_major_formatter(figure_style.short)
        axis.yaxis.set_major_locator(MaxNLocator(3 if columns > 4 else 5))
        if columns > 4:
            axis.tick_params(labelsize=6, length=2, pad=1.5)
    figure.supxlabel("environment frames", fontsize=8)
    return figure, axes[:panels]


def _logarithmic(axes: Axes) -> None:
    """Makes the y axis logarithmic if all values are positive and span more than a decade."""
    low, high = axes.dataLim.intervaly
    if 0 < low < 0.1 * high < np.inf:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=5))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(figure_style.short)


def _draw_band(
    axes: Axes,
    number: int,
    group: Group,
    at: np.ndarray,
    curve: Callable[[History], np.ndarray],
) -> curves.Band:
    """Draws a group's mean and, for several runs, a band from the lowest to the highest."""
    band = curves.band(group.runs, curve)
    style = figure_style.line_style(number)
    axes.plot(at, band.mean, **style)
    if len(group.runs) > 1:
        axes.fill_between(at, band.low, band.high, color=style["color"], alpha=0.25, linewidth=0)
    return band


def _legend(figure: Figure, numbered: Sequence[tuple[int, Group]], more: Sequence[Artist]) -> None:
    """Adds a legend of lines and bands above the panels; none for a single run's only line."""
    handles = list(more)
    seeds = max((len(group.runs) for _, group in numbered), default=1)
    if len(numbered) > 1 or seeds > 1:
        own = []
        for number, group in numbered:
            count = len(group.runs)
            runs = f"{count} run{'s' if count > 1 else ''}"
            label = f"{group.label} ({runs})" if group.label else f"mean of {runs}"
            own.append(Line2D([], [], label=label, **figure_style.line_style(number)))
        handles = [*own, *handles]
    if seeds > 1:
        handles.append(_band_handle())
    if not handles:
        return
    letters = int((figure.get_figwidth() - _HANDLE_WIDTH) / _LETTER_WIDTH)
    for handle in handles:
        handle.set_label(textwrap.fill(str(handle.get_label()), letters))
    labels = [str(handle.get_label()).splitlines() for handle in handles]
    longest = max(len(line) for label in labels for line in label)
    width = _HANDLE_WIDTH + _LETTER_WIDTH * longest
    columns = max(1, min(len(handles), int(figure.get_figwidth() / width)))
    lines = -(-sum(map(len, labels)) // columns)
    figure.set_figheight(figure.get_figheight() + _LINE_HEIGHT * (lines + 1))
    figure.legend(handles=handles, loc="outside upper center", ncols=columns)


def _band_handle() -> Artist:
    return Patch(color="0.8", label="lowest to highest run")


def _returns(groups: Sequence[Group], window: int, at: np.ndarray) -> Figure:
    tasks = _tasks(groups)
    figure, panels = _grid_of_panels(len(tasks), at)
    small = len(tasks) > 24
    evaluated = False
    references: dict[str, Mapping[str, Any]] = {}
    for axes, task in zip(panels, tasks, strict=True):
        for number, group in enumerate(groups):
            _draw_band(
                axes,
                number,
                group,
                at,
                lambda history: curves.task_curve(history, task.name, window, at),  # noqa: B023
            )
        if len(groups) == 1:
            for history in groups[0].runs:
                episodes = history.evaluator[task.name]
                axes.plot(episodes.frames, episodes.returns, ".", color="0.6", ms=2, zorder=1)
                evaluated = evaluated or len(episodes) > 0
        axes.set_title(task.name, loc="left", fontsize=6 if small else 8)
        references.update(_draw_references(axes, task, small))
    figure.supylabel(f"return (mean of {window} episodes)", fontsize=8)
    handles: list[Artist] = [
        Line2D([], [], **style, label=name) for name, style in references.items()
    ]
    if evaluated:
        handles.append(
            Line2D([], [], marker=".", ls="", color="0.6", ms=4, label="evaluator's episodes")
        )
    _legend(figure, list(enumerate(groups)), handles)
    return figure


def _draw_references(axes: Axes, task: Task, small: bool) -> dict[str, Mapping[str, Any]]:
    """Draws random and human play as lines, or writes them as text if lines would squeeze curves.

    Returns:
      The styles of the lines drawn, by name.
    """
    drawn: dict[str, Mapping[str, Any]] = {}
    low, high = axes.dataLim.intervaly
    if not np.isfinite([low, high]).all():  # no episode yet
        return drawn
    reach = _REACH * (high - low or 1.0)
    above, below = [], []
    for name, value, style in (
        (task.reference, task.human_score, _HUMAN),
        ("random", task.random_score, _RANDOM),
    ):
        if value is None:
            continue
        if low - reach <= value <= high + reach:
            axes.axhline(value, zorder=0, **style)
            drawn[name] = style
        elif value > high:
            above.append(f"{name} {figure_style.short(float(f'{value:.3g}'))} \N{UPWARDS ARROW}")
        else:
            below.append(f"{name} {figure_style.short(float(f'{value:.3g}'))} \N{DOWNWARDS ARROW}")
    font: dict[str, Any] = {
        "fontsize": 5 if small else 6.5,
        "color": "0.35",
        "transform": axes.transAxes,
    }
    if above:
        axes.text(0.03, 0.97, "\n".join(above), ha="left", va="top", **font)
    if below:
        axes.text(0.97, 0.03, "\n".join(below), ha="right", va="bottom", **font)
    return drawn


def _normalised(groups: Sequence[Group], window: int, at: np.ndarray) -> Figure | None:
    """Median and mean over tasks; None if a task has no scores."""
    results = {}  # computed once for each run, not for each panel
    for group in groups:
        for history in group.runs:
            over_tasks = curves.normalised_curves(history, window, at)
            if over_tasks is None:
                return None
            results[history.path] = over_tasks
    reference = _tasks(groups)[0].reference
    figure, panels = _grid_of_panels(2, at)
    drawn: dict[str, Mapping[str, Any]] = {}
    means: dict[str, Callable[..., np.ndarray]] = {"median": np.median, "mean": np.mean}
    for axes, (name, over) in zip(panels, means.items(), strict=True):
        for number, group in enumerate(groups):
            _draw_band(axes, number, group, at, lambda h: over(results[h.path], axis=0))  # noqa: B023
        axes.set_title(f"{name} over tasks", loc="left")
        references = {"random": (0, _RANDOM), reference: (100, _HUMAN)}
        for line, (value, style) in references.items():
            if value == 0 or axes.dataLim.y1 > 50:
                axes.axhline(value, zorder=0, **style)
                drawn[line] = style
    figure.supylabel(f"{reference}-normalised return (%)", fontsize=8)
    handles = [Line2D([], [], **style, label=line) for line, style in drawn.items()]
    _legend(figure, list(enumerate(groups)), handles)
    return figure


def _statistics(numbered: Sequence[tuple[int, Group]], name: str, at: np.ndarray) -> Figure:
    """PopArt's mu or sigma for every task.

    Args:
      numbered: groups with PopArt, with their numbers among all groups, which set their colours.
      name: "mu" or "sigma".
      at: frames [P].
    """
    tasks = _tasks([group for _, group in numbered])
    figure, panels = _grid_of_panels(len(tasks), at)
    for axes, task in zip(panels, tasks, strict=True):
        for number, group in numbered:
            _draw_band(
                axes,
                number,
                group,
                at,
                lambda history: curves.column_curve(history, f"{name}/{task.name}", at),  # noqa: B023
            )
        axes.set_title(task.name, loc="left", fontsize=6 if len(tasks) > 24 else 8)
        if name == "sigma":
            _logarithmic(axes)
    what = "mean" if name == "mu" else "scale"
    symbol = "\N{GREEK SMALL LETTER MU}" if name == "mu" else "\N{GREEK SMALL LETTER SIGMA}"
    figure.supylabel(f"PopArt's {what} {symbol} of returns", fontsize=8)
    _legend(figure, numbered, [])
    return figure


def _learner(groups: Sequence[Group], at: np.ndarray) -> Figure:
    """The learner's metrics, except for PopArt's statistics."""
    figure, panels = _grid_of_panels(len(_LEARNER_PANELS), at)
    for axes, panel in zip(panels, _LEARNER_PANELS, strict=True):
        for number, group in enumerate(groups):
            _draw_band(
                axes,
                number,
                group,
                at,
                lambda history: curves.column_curve(history, panel.column, at),  # noqa: B023
            )
        axes.set_title(panel.title, loc="left")
        if panel.logarithmic:
            _logarithmic(axes)
        elif panel.from_zero:
            axes.set_ylim(0, axes.get_ylim()[1] if axes.dataLim.y1 > 0 else 1)
    _legend(figure, list(enumerate(groups)), [])
    return figure
