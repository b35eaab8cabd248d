"""Reads the contents of a run's report from the run directory."""

import base64
import dataclasses
import time
from collections.abc import Sequence
from typing import Any

from agents.popart_impala.config import Config
from agents.popart_impala.networks import default_network
from agents.popart_impala.setting import defaults as setting_defaults
from environments import AtariOptions, Task, features_spec
from environments.families import FAMILIES, OnDemandFamily
from launch_programs.run import provenance
from launch_programs.run.evaluations import Evaluation, read_evaluations
from launch_programs.run.history import History, read_history
from launch_programs.run.metrics import read_rows
from launch_programs.run.run_config import (
    RunConfig,
    default_environments_per_actor,
    flatten,
)
from launch_programs.run.run_directory import RunDirectory
from launch_programs.settings.flags import (
    ATARI_DEFAULTS,
    default_action_set,
    default_settings,
)
from launch_programs.views.drawing import draw_run

# Maximum bytes of videos in a page, since a browser holds the whole page in memory.
VIDEO_BYTES = 25_000_000
# Maximum number of failures shown, the newest ones.
MAX_FAILURES = 100

_FIGURES = {
    "returns": "Returns of training episodes of every task, over environment frames",
    "normalised": "Median and mean over tasks of the normalised training returns, over environment "
    "frames",
    "popart_mu": "PopArt's mean of the values of every task, over environment frames",
    "popart_sigma": "PopArt's scale of the values of every task, over environment frames",
    "learner": "The learner's losses, entropy, policy lag, speed and the like, over environment "
    "frames",
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting of the run."""

    name: str  # of its flag
    value: str
    default: str  # "" where there is none
    differs: bool  # from the default


@dataclasses.dataclass(frozen=True)
class Video:
    """A filmed episode."""

    task: str
    path: str  # within the run directory
    evaluation: Evaluation
    uri: str  # the file as a data URI; "" if it is left out
    left_out: str  # why


@dataclasses.dataclass(frozen=True)
class Figure:
    """A plot."""

    name: str
    alt: str
    uri: str


@dataclasses.dataclass(frozen=True)
class Contents:
    """Everything that the page shows."""

    name: str  # of the run directory
    made: str  # time at which the page was made
    tasks: tuple[str, ...]  # the tasks to learn
    reference: str  # what counts as 100 %: "human", or "optimum" for toy tasks
    summary: list[tuple[str, str]]
    evaluations: list[Evaluation]  # newest first
    videos: list[Video]
    figures: dict[str, Figure]
    statistics: list[tuple[str, float, float]]  # task, mu, sigma
    failures: list[dict[str, str]]  # the newest, newest last
    failures_left_out: int
    settings: list[Setting]
    starts: list[dict[str, Any]]  # entries of provenance.json, oldest first


def read_contents(directory: RunDirectory) -> Contents:
    """Reads a run, which may be in progress, and redraws its plots.

    Args:
      directory: directory of the run.

    Raises:
      ValueError: it is not a run directory, or a file in it is damaged; the message names it.
      OSError: a file cannot be read, or the plots cannot be written.
    """
    history = read_history(directory.path)
    config = history.config
    tasks = config.task_list()
    evaluations = read_evaluations(directory)
    failures = _read_failures(directory)
    return Contents(
        name=directory.path.resolve().name,
        made=_time(time.time()),
        tasks=tuple(tasks[i].name for i in config.learned_tasks),
        reference=tasks[0].reference,
        summary=_summary(history, directory),
        evaluations=evaluations,
        videos=read_videos(directory, config.tasks, evaluations),
        figures={
            path.stem: Figure(
                path.stem, _FIGURES[path.stem], _uri("image/svg+xml", path.read_bytes())
            )
            for path in draw_run(directory)
            if path.suffix == ".svg"
        },
        statistics=_statistics(history),
        failures=failures[-MAX_FAILURES:],
        failures_left_out=max(0, len(failures) - MAX_FAILURES),
        settings=settings(config),
        starts=provenance.read(directory),
    )


def settings(config: RunConfig) -> list[Setting]:
    """A run's settings, with their defaults."""
    rows = []
    defaults = _defaults(config)
    for name, value in flatten(config).items():
        if name == "agent.frozen_columns" and not value:
            continue  # has no flag, and only matters for grown networks
        default = defaults.get(name)
        differs = name in defaults and default != value
        shown = _shown(default) if name in defaults else ""
        rows.append(Setting(name.rpartition(".")[2], _shown(value), shown, differs))
    return rows


def _defaults(config: RunConfig) -> dict[str, Any]:
    """Defaults of the settings that have one, by the names that `flatten` gives."""
    tasks = config.task_list()
    defaults = {
        **{f"agent.{f.name}": f.default for f in dataclasses.fields(Config)},
        **{f"atari.{f.name}": f.default for f in dataclasses.fields(AtariOptions)},
        **{f"atari.{name}": default for name, default in ATARI_DEFAULTS.items()},
        "atari.action_set": default_action_set(tasks, config.agent.network),
        **setting_defaults(RunConfig),
        "environments_per_actor": default_environments_per_actor(len(config.learned_tasks)),
        "agent.action_repeat": tasks[0].action_repeat,
        **{f"agent.{k}": v for k, v in default_settings(config.agent.network).items()},
    }
    if (network := _default_network(tasks[0])) is None:
        del defaults["agent.network"]
    else:
        defaults["agent.network"] = network
    if not FAMILIES[tasks[0].domain].has_options:
        defaults = {k: v for k, v in defaults.items() if not k.startswith("atari.")}
    return defaults


def _default_network(task: Task) -> str | None:
    """The default network; None if only the environment could tell."""
    made_on_demand = isinstance(FAMILIES[task.domain], OnDemandFamily)
    return None if made_on_demand else default_network(features_spec([task]))


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def read_videos(
    directory: RunDirectory,
    tasks: Sequence[str],
    evaluations: Sequence[Evaluation],
    limit: int = VIDEO_BYTES,
) -> list[Video]:
    """The newest video of each task.

    Args:
      directory: directory of the run.
      tasks: tasks of the run, in the order of the result.
      evaluations: evaluations of the run, newest first.
      limit: maximum bytes of all videos together; videos that would exceed it are left out.

    Raises:
      OSError: a video cannot be read.
    """
    videos, total = [], 0
    for task in tasks:
        for evaluation in evaluations:
            if task in evaluation.videos:
                break
        else:
            continue
        name = evaluation.videos[task]["mp4"]
        path = directory.path / name
        uri = left_out = ""
        if not path.is_file():
            left_out = "the file is not there any more"
        elif total + (size := path.stat().st_size) > limit:
            left_out = (
                f"it has {size / 1e6:.1f} MB, and a page at most {limit / 1e6:g} MB of videos"
            )
        else:
            total += size
            uri = _uri("video/mp4", path.read_bytes())
        videos.append(Video(task, name, evaluation, uri, left_out))
    return videos


def _summary(history: History, directory: RunDirectory) -> list[tuple[str, str]]:
    config, learner = history.config, history.learner
    total = config.agent.total_environment_frames
    rows = [
        ("tasks", ", ".join(config.tasks[i] for i in config.learned_tasks)),
        ("network", config.agent.network + (" with LSTM" if config.agent.use_lstm else "")),
        ("frames", f"{history.frames:,} of {total:,} ({min(1.0, history.frames / total):.1%})"),
    ]
    if (step := directory.read_last_checkpoint()) is not None:
        rows.append(("newest checkpoint", f"after {step:,} updates"))
    if learner:
        rows += [
            ("frames per second", f"{learner['frames_per_second'][-1]:,.0f}, at the last log row"),
            ("last log row", _time(learner["time"][-1])),
        ]
    return rows


def _read_failures(directory: RunDirectory) -> list[dict[str, str]]:
    """Rows of failures.csv, with human-readable times."""
    try:
        return [
            {
                "time": _time(float(row["time"])),
                "node": row["node"],
                "failure": row["failure"],
            }
            for row in read_rows(directory.failures)
        ]
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{directory.failures} is damaged: {type(error).__name__}: {error}"
        ) from error


def _statistics(history: History) -> list[tuple[str, float, float]]:
    """Each task's mu and sigma in the last row of the learner; none without PopArt or rows."""
    if not history.config.agent.popart or not history.learner:
        return []
    last = {name: float(column[-1]) for name, column in history.learner.items()}
    return [(task, last[f"mu/{task}"], last[f"sigma/{task}"]) for task in history.config.tasks]


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
