"""Table and figures of `benchmarks.atari`, from its result files."""

import csv
import json
import math
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import atari_plot
from benchmarks.atari_curves import SETTLED_FRAMES
from benchmarks.atari_runs import CONFIGURATIONS, Experiment, Run
from benchmarks.atari_statistics import interquartile_mean
from environments import parse_level_name
from environments.scores import RECENT_EPISODES

# A run's result file (`atari_curves.result`).
Result = Mapping[str, Any]

COLUMNS = (
    "experiment",
    "level",
    "configuration",
    "task",
    "at",
    "runs",
    "median",
    "IQM",
    "95 % interval",
) + ("lowest", "frames", "minutes", "frames/s", "policy lag", "waiting")
# The text columns among them.
_TEXT = frozenset(COLUMNS[:5])

_EXPLANATION = (
    f"A run's score is the mean return of the last {RECENT_EPISODES} training episodes of the "
    "task, with unclipped rewards and sampled actions; a game with several lives is one episode. "
    "Median and interquartile mean (IQM) are over runs, those of several tasks together over runs "
    "and tasks, in percent of the way from random to human play; the interval is a stratified "
    "bootstrap's (rliable). lowest: the lowest score of any run after its first "
    f"{SETTLED_FRAMES:,} frames. "
    "runs: finished, of those in the list; only finished ones count. Minutes are of training: "
    "programs' starts are not in them. Frames are agent steps times 4 on Atari, over all tasks; "
    "policy lag is in updates, waiting the share of the time that the learner waited for batches."
)


def result_path(output: pathlib.Path, run: Run) -> pathlib.Path:
    """The path of a run's result."""
    return output / f"{run.name}.json"


def read_result(output: pathlib.Path, run: Run) -> dict[str, Any] | None:
    """A run's result; None if there is none.

    Raises:
      ValueError: it cannot be read, or its settings differ from the list's.
    """
    path = result_path(output, run)
    try:
        result: dict[str, Any] = json.loads(path.read_text())
        made_with = [result["program"], *result["flags"]]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error!r}; remove it to train again") from error
    configuration = CONFIGURATIONS[run.configuration]
    asked_for = [configuration.program, *configuration.flags]
    if made_with != asked_for:
        raise ValueError(
            f"{path} is of {' '.join(made_with)}, but the configuration {run.configuration!r} is "
            f"{' '.join(asked_for)}; give it another name, or remove the file and the run's "
            "directory"
        )
    return result


def report(output: pathlib.Path, experiments: Mapping[str, Experiment]) -> None:
    """Prints and writes the table, and draws the figures, of all experiments with a finished run.

    Args:
      output: directory of the results.
      experiments: the experiments to report on.

    Raises:
      ValueError: as in `read_result`.
    """
    rows: list[list[str]] = []
    for name, experiment in experiments.items():
        results = finished(output, experiment)
        rows += measured(name, experiment, results)
        if any(results.values()):
            atari_plot.draw(experiment, results, output / name)
    lines = [list(COLUMNS), ["---"] * len(COLUMNS), *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    (output / "table.md").write_text(f"# Atari and MinAtar\n\n{_EXPLANATION}\n\n{table}\n")
    with (output / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    # A log has no terminal width, and a narrow table would not be readable.
    console = Console(highlight=False, width=max(Console().width, 200))
    shown = Table()
    for column in COLUMNS:
        shown.add_column(column, justify="left" if column in _TEXT else "right")
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
    console.print(f"{_EXPLANATION}\nWritten to {output}", soft_wrap=True)


def finished(output: pathlib.Path, experiment: Experiment) -> dict[tuple[str, str], list[Result]]:
    """The finished runs' results by level name and configuration, in order of seed.

    Raises:
      ValueError: as in `read_result`.
    """
    results: dict[tuple[str, str], list[Result]] = {
        (level_name, configuration): []
        for level_name in experiment.level_names
        for configuration in experiment.configurations
    }
    for run in experiment.runs():
        result = read_result(output, run)
        if result is not None and result["finished"]:
            results[run.level_name, run.configuration].append(result)
    return results


def score(result: Result, task: str, minutes: float | None) -> float:
    """A run's score after this many minutes, or at its end; NaN before the first episode."""
    if minutes is None:
        value = result["end"]["scores"][task]
        return math.nan if value is None else float(value)
    curve = result["curve"]
    values = np.array(curve["scores"][task], float)
    return float(np.interp(minutes, curve["minutes"], values, right=np.nan))


def measured(
    name: str, experiment: Experiment, results: Mapping[tuple[str, str], Sequence[Result]]
) -> list[list[str]]:
    """The experiment's rows of the table.

    Args:
      name: the experiment's name.
      experiment: the experiment.
      results: from `finished`.
    """
    rows = []
    for (level_name, configuration), runs in results.items():
        tasks = parse_level_name(level_name)
        for moment in (*experiment.moments, None):
            if not runs:
                break
            scores = np.array([[score(run, task.name, moment) for task in tasks] for run in runs])
            at = "end" if moment is None else f"{moment:g} min"
            start = [name, level_name, configuration]
            count = f"{len(runs)} of {experiment.seeds}"
            end = _how_it_ran(runs) if moment is None else [""] * 5
            for i, task in enumerate(tasks):
                low = ""
                if moment is None:
                    low = _number(min(_float(run["end"]["lowest"][task.name]) for run in runs))
                rows.append(
                    [*start, task.name, at, count, *_aggregates(scores[:, i : i + 1]), low, *end]
                )
                end = [""] * 5  # once per run, not per task
            normalised = [
                [task.human_normalised(x) for task, x in zip(tasks, run, strict=True)]
                for run in scores
            ]
            if len(tasks) > 1 and not any(x is None for run in normalised for x in run):
                together = np.array(normalised, float)
                rows.append([*start, "all, %", at, count, *_aggregates(together), "", *end])
    return rows


def _aggregates(scores: np.ndarray) -> list[str]:
    """Median, interquartile mean and its interval of scores [runs, tasks]."""
    if np.isnan(scores).any():
        return ["-", "-", "-"]
    estimate = interquartile_mean(scores[..., np.newaxis])
    low, high = estimate.low[0], estimate.high[0]
    interval = "-" if math.isnan(low) else f"{_number(low)} to {_number(high)}"
    return [_number(float(np.median(scores))), _number(estimate.iqm[0]), interval]


def _how_it_ran(runs: Sequence[Result]) -> list[str]:
    """Frames, minutes, frames/s, policy lag, share of waiting: medians over runs."""
    middle = {}
    for key in ("frames", "minutes", "frames_per_second", "policy_lag", "waiting_share"):
        known = [run["end"][key] for run in runs if run["end"][key] is not None]
        middle[key] = statistics.median(known) if known else math.nan
    waiting = middle["waiting_share"]
    return [
        f"{middle['frames']:,.0f}",
        _number(middle["minutes"]),
        f"{middle['frames_per_second']:,.0f}" if runs else "",
        _number(middle["policy_lag"]),
        "-" if math.isnan(waiting) else f"{100 * waiting:.0f} %",
    ]


def _float(value: float | None) -> float:
    return math.nan if value is None else value


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.2f}"
