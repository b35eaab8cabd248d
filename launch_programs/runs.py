"""Lists runs: `python -m launch_programs.runs [DIRECTORY]`, by default those in runs/.

Says of each what it trains, how far it is, how well it plays and whether it

    running      its directory is claimed by a program that trains or evaluates
    finished     its newest checkpoint has all frames
    failed       its program ended since something failed, and said so
    interrupted  none of these: it was stopped, or killed with all that could have said why

and with which command an unfinished one continues. On a terminal that is a table; else lines of
values with tabs between them, the first of them names.
"""

import pathlib
import statistics
import sys
from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from environments import suite_name
from environments.scores import RECENT_EPISODES, aggregate
from launch_programs.console import command_line
from launch_programs.console.tables import Cell, print_table
from launch_programs.run.evaluations import read_evaluations
from launch_programs.run.history import History, read_history
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory, user_path

# Bytes at the end of each table that are read: some ten thousand episodes.
_TAIL = 2**19


class Score(NamedTuple):
    """How well a run plays."""

    value: float
    unit: str  # "%", of the way from random to human (toy: optimal) play; or "mean return"
    source: str  # "evaluation at FRAMES" or "training"


class Run(NamedTuple):
    """A line of the list."""

    path: pathlib.Path
    state: str  # running, finished, interrupted, failed or unreadable
    tasks: str = ""  # as in the names of run directories
    network: str = ""
    # Environment frames: while it runs as far as its rows tell, then those of the newest
    # checkpoint, from which it continues.
    frames: int = 0
    total_frames: int = 0
    score: Score | None = None  # None before every task has had an episode
    resume: str = ""  # command; "" if there is nothing to resume
    problem: str = ""  # why it failed, or cannot be read


def find_runs(path: pathlib.Path) -> list[Run]:
    """The runs in a directory, or the one run that it is, by name.

    Args:
      path: of the directory. Every directory in it is listed, as unreadable if it is no run.

    Raises:
      OSError: it cannot be read.
    """
    if RunDirectory(path).config.exists():
        return [read_run(path)]
    return [read_run(entry) for entry in sorted(path.iterdir()) if entry.is_dir()]


def read_run(path: pathlib.Path) -> Run:
    """Reads one run; what is wrong with it is its `problem`."""
    directory = RunDirectory(path)
    try:
        return _read_run(directory)
    except (ValueError, OSError) as error:
        return Run(path, "unreadable", problem=" ".join(str(error).split()))


def _read_run(directory: RunDirectory) -> Run:
    # Asked first: a run that ends meanwhile has its last checkpoint when that is looked for.
    running = directory.is_locked()
    history = read_history(directory.path, last=_TAIL)
    config = history.config
    total = config.agent.total_environment_frames
    frames = directory.saved_frames(config)
    problem = ""
    if running:
        state = "running"
        frames = max(frames, history.frames)
    elif frames >= total:
        state = "finished"
    elif directory.failed.exists():
        state = "failed"
        told = directory.failed.read_text(encoding="utf-8", errors="replace")
        problem = next(iter(told.splitlines()), "")
    else:
        state = "interrupted"
    return Run(
        path=directory.path,
        state=state,
        tasks=suite_name(config.task_list()),
        network=config.agent.network + ("+lstm" if config.agent.use_lstm else ""),
        frames=frames,
        total_frames=total,
        score=_evaluation_score(directory, config) or _training_score(history),
        resume=directory.resume_command() if state in ("interrupted", "failed") else "",
        problem=problem,
    )


def _evaluation_score(directory: RunDirectory, config: RunConfig) -> Score | None:
    """That of the newest evaluation of all tasks, played as in training."""
    for evaluation in read_evaluations(directory):
        if evaluation.options:
            continue
        means = {score.task: score.mean for score in evaluation.tasks}
        if means.keys() == set(config.tasks):
            return _score(config, means, f"evaluation at {evaluation.frames:,}")
    return None


def _training_score(history: History) -> Score | None:
    """That of each task's last training episodes; None if a task has none."""
    learned = [history.config.tasks[i] for i in history.config.learned_tasks]
    if not all(len(history.actors[task]) for task in learned):
        return None
    recent = {task: history.actors[task].returns[-RECENT_EPISODES:] for task in learned}
    means = {task: float(returns.mean()) for task, returns in recent.items()}
    return _score(history.config, means, "training")


def _score(config: RunConfig, means: dict[str, float], source: str) -> Score:
    """The median over tasks of normalised returns, or without scores the mean return."""
    tasks = {task.name: task for task in config.task_list()}
    normalised = [tasks[name].human_normalised(mean) for name, mean in means.items()]
    if (total := aggregate(normalised)) is not None:
        return Score(total.median, "%", source)
    return Score(statistics.fmean(means.values()), "mean return", source)


def lines(runs: Sequence[Run]) -> list[str]:
    """For other programs: names, then a line for each run, with tabs between the values."""
    rows: list[Sequence[object]] = [
        ("run", "state", "tasks", "network", "frames", "total_frames")
        + ("score", "score_unit", "score_from", "resume", "problem")
    ]
    for run in runs:
        score: Sequence[object] = ("", "", "") if run.score is None else run.score
        known = (run.tasks, run.network, run.frames, run.total_frames)
        rows.append((run.path, run.state, *known, *score, run.resume, run.problem))
    return ["\t".join(" ".join(str(value).split()) for value in row) for row in rows]


_STYLES = {
    "running": "green",
    "finished": "",
    "interrupted": "yellow",
    "failed": "red",
    "unreadable": "red",
}


def show(runs: Sequence[Run], console: Console) -> None:
    """Prints a table, and below it what is wrong with which run, and how it continues."""
    rows: list[list[Cell]] = []
    for run in runs:
        frames = percent = score = source = ""
        if run.total_frames:
            frames = f"{run.frames:,} of {run.total_frames:,}"
            percent = f"{100 * run.frames // run.total_frames} %"  # 100 only when all is done
        if run.score is not None:
            score, source = f"{run.score.value:,.1f} {run.score.unit}", run.score.source
        state = Text(run.state, style=_STYLES[run.state])
        name = run.path.resolve().name  # of "." too
        rows.append([name, state, run.tasks, run.network, frames, percent, score, source])
    headings = ("run", "state", "tasks", "network", "frames", "", "score", "from")
    names = ("run", "state", "tasks", "network", "from")
    print_table(console, headings, rows, names=names, spare=("from", "network", "tasks"))
    if any(run.score is not None and run.score.unit == "%" for run in runs):
        console.print("%: of the way from random to human (toy: optimal) play, median over tasks")
    for run in runs:
        if run.problem:
            console.print(f"{run.path} {run.state}: {run.problem}", soft_wrap=True, markup=False)
    unfinished = [run for run in runs if run.resume]
    if unfinished:
        console.print("To resume:")
    for run in unfinished:
        console.print(f"  {run.resume}", soft_wrap=True, markup=False)


def main(argv: list[str]) -> None:
    """Entry point."""
    command_line.set_up_process()
    try:
        if len(argv) > 2:
            raise ValueError(f"unexpected argument {argv[2]!r}: one directory is listed at a time")
        path = user_path(argv[1] if len(argv) > 1 else "runs")
        runs = find_runs(path)
    except (ValueError, OSError) as error:
        command_line.fail(error)
    if not sys.stdout.isatty():
        print("\n".join(lines(runs)))
    elif runs:
        show(runs, Console(highlight=False))
    else:
        print(f"no runs in {path}")


if __name__ == "__main__":
    command_line.run(main)
