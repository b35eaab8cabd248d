"""Writes and reads the files of a run's evaluations."""

import csv
import dataclasses
import functools
import json
from typing import Any

from environments.scores import Aggregate, InterquartileMean, TaskScore
from launch_programs.run.run_directory import RunDirectory, write_json

_empty = functools.partial(dataclasses.field, default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The results of evaluating one checkpoint."""

    name: str  # file name of its JSON file
    learner_steps: int  # of the checkpoint
    frames: int
    greedy: bool
    seed: int
    tasks: list[TaskScore]
    aggregate: Aggregate | None  # None without scores to normalise by
    interquartile_mean: InterquartileMean | None = None  # over the episodes; see its function
    returns: dict[str, list[float]] = _empty()  # task -> returns of its episodes
    attention: dict[str, list[float]] = _empty()  # task -> mean weights
    videos: dict[str, dict[str, str]] = _empty()  # task -> kind -> path within the run directory
    played_as: dict[str, str] = _empty()  # task outside the run -> task of the run it stands in for
    options: dict[str, Any] = _empty()  # environment options that differ from the run's


def evaluation_name(stem: str) -> str:
    """File name of the JSON file of an evaluation called `stem`."""
    return f"evaluation-{stem}.json"


def write_evaluation(directory: RunDirectory, evaluation: Evaluation) -> None:
    """Writes the JSON file, with the tasks' scores as .csv beside it.

    Raises:
      OSError: a file cannot be written.
    """
    path = directory.path / evaluation.name
    write_json(
        path,
        {
            "learner_steps": evaluation.learner_steps,
            "frames": evaluation.frames,
            "greedy": evaluation.greedy,
            "seed": evaluation.seed,
            "tasks": [score._asdict() for score in evaluation.tasks],
            "human_normalised": evaluation.aggregate and evaluation.aggregate._asdict(),
            "interquartile_mean": evaluation.interquartile_mean
            and evaluation.interquartile_mean._asdict(),
            "returns": evaluation.returns,
            **{
                name: values
                for name in ("attention", "videos", "played_as", "options")
                if (values := getattr(evaluation, name))
            },
        },
    )
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(TaskScore._fields)
        writer.writerows(evaluation.tasks)


def read_evaluations(directory: RunDirectory) -> list[Evaluation]:
    """A run's evaluations, newest first: by learner steps, then by file time.

    Raises:
      ValueError: a file is damaged.
      OSError: a file cannot be read.
    """
    found = []
    for path in directory.path.glob(evaluation_name("*")):
        try:
            evaluation = _evaluation(path.name, json.loads(path.read_text()))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged: {type(error).__name__}: {error}") from error
        found.append((evaluation.learner_steps, path.stat().st_mtime_ns, evaluation))
    found.sort(key=lambda item: item[:2], reverse=True)
    return [evaluation for _, _, evaluation in found]


def _evaluation(name: str, values: dict[str, Any]) -> Evaluation:
    return Evaluation(
        name=name,
        learner_steps=int(values["learner_steps"]),
        frames=int(values["frames"]),
        greedy=bool(values["greedy"]),
        seed=int(values["seed"]),
        tasks=[TaskScore(**task) for task in values["tasks"]],
        aggregate=(total := values["human_normalised"]) and Aggregate(**total),
        # Earlier versions did not write these.
        interquartile_mean=(middle := values.get("interquartile_mean"))
        and InterquartileMean(**middle),
        **{
            name: values.get(name, {})
            for name in ("returns", "attention", "videos", "played_as", "options")
        },
    )
