"""Table, verdicts and figure of `benchmarks.learning`, from its result files."""

import json
import pathlib
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.comparisons import COMPARISONS, Comparison
from benchmarks.learning_plot import plot
from benchmarks.verdicts import MEASURES, Run, judge, spread

_EXPLANATION = (
    "Returns are normalised: 0 is random play, 1 the optimum. Each number is the mean over seeds "
    "(lowest to highest seed). A claim holds if the better configuration's lowest seed is above "
    "the other's highest."
)

# Runs by configuration, one per seed.
Runs = Mapping[str, Sequence[Run]]


def report(output: pathlib.Path) -> None:
    """Prints and writes table.md, and draws learning.png, from all result files in a directory."""
    results: dict[str, tuple[Comparison, Runs]] = {
        name: (make(), json.loads((output / f"{name}.json").read_text()))
        for name, make in COMPARISONS.items()
        if (output / f"{name}.json").exists()
    }
    tables = [_measured(results), _judged(results)]
    definitions = [f"- {name}: {measure.description}" for name, measure in MEASURES.items()]
    sections = ["# Learning on toy tasks", _EXPLANATION, "\n".join(definitions)]
    (output / "table.md").write_text("\n\n".join(sections + list(map(_markdown, tables))) + "\n")
    plot(list(results.values()), output / "learning.png")
    console = Console(highlight=False)
    for header, *rows in tables:
        table = Table(*header)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    console.print(f"{_EXPLANATION}\nWritten to {output}", soft_wrap=True)


def _measured(results: Mapping[str, tuple[Comparison, Runs]]) -> list[list[str]]:
    """Every measure of every configuration: a header, and rows."""
    rows = [["comparison", "configuration", "parameters", "seeds", *MEASURES]]
    for name, (_, runs) in results.items():
        for configuration, seeds in runs.items():
            row = [name, configuration, f"{seeds[0][-1]['num_params']:,}", str(len(seeds))]
            for measure in MEASURES.values():
                applies = len(seeds[0]) >= measure.phases
                row.append(str(spread([measure.of(run) for run in seeds])) if applies else "")
            rows.append(row)
    return rows


def _judged(results: Mapping[str, tuple[Comparison, Runs]]) -> list[list[str]]:
    """Every claim and its verdict: a header, and rows."""
    rows = [["comparison", "claim", "measure", "difference of means", "verdict"]]
    for name, (comparison, runs) in results.items():
        for verdict in judge(comparison, runs):
            claim = verdict.claim
            rows.append(
                [
                    name,
                    f"{claim.better} above {claim.worse}",
                    claim.measure,
                    f"{verdict.difference:+.3f}",
                    "holds" if verdict.holds else "does not hold",
                ]
            )
    return rows


def _markdown(table: Sequence[Sequence[str]]) -> str:
    header, *rows = table
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
