"""Lists runs: `python -m launch_programs.runs [DIRECTORY]`, by default those in runs/.

Shows for each run what it trains, its progress, how well it plays, the command that resumes it if
unfinished, and its state:

    running      its directory is claimed by a program that trains or evaluates
    finished     its newest checkpoint has all frames
    failed       its program ended because of a failure, and recorded it
    interrupted  none of these: it was stopped, or killed before it could record why

Prints a table on a terminal, and tab-separated lines with a header line elsewhere.
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

# Bytes that are read from the end of each table: some ten thousand episodes.
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
    # Environment frames: while the run is running, those its rows show; otherwise those of the
    # newest checkpoint, from which it would continue.
    frames: int = 0
    total_frames: int = 0
    score: Score | None = None  # None until every task has had an episode
    resume: str = ""  # command; "" if there is nothing to resume
    problem: str = ""  # why it failed or cannot be read


def find_runs(path: pathlib.Path) -> list[Run]:
    """The runs in a directory, sorted by name; just the run itself for a run directory.

    Args:
      path: the directory. Every subdirectory is listed, as unreadable if it is not a run.

    Raises:
      OSError: the directory cannot be read.
    """
    if RunDirectory(path).config.exists():
        return [read_run(path)]
    return [read_run(entry) for entry in sorted(path.iterdir()) if entry.is_dir()]


def read_run(path: pathlib.Path) -> Run:
    """Reads one run; if that fails, `problem` says why."""
    directory = RunDirectory(path)
    try:
        return _read_run(directory)
    except (ValueError, OSError) as error:
        return Run(path, "unreadable", problem=" ".join(str(error).split()))


def _read_run(directory: RunDirectory) -> Run:
    # Checked first: if the run ends meanwhile, its last checkpoint exists when we look for it.
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
    """The score of the newest evaluation of all tasks with the run's own options."""
    for evaluation in read_evaluations(directory):
        if evaluation.options:
            continue
        means = {score.task: score.mean for score in evaluation.tasks}
        if means.keys() == set(config.tasks):
            return _score(config, means, f"evaluation at {evaluation.frames:,}")
    return None


def _training_score(history: History) -> Score | None:
    """The score over each task's last training episodes; None if a task has none."""
    learned = [history.config.tasks[i] for i in history.config.learned_tasks]
    if not all(len(history.actors[task]) for task in learned):
        return None
    recent = {task: history.actors[task].returns[-RECENT_EPISODES:] for task in learned}
    means = {task: float(returns.mean()) for task, returns in recent.items()}
    return _score(history.config, means, "training")


def _score(config: RunConfig, means: dict[str, float], source: str) -> Score:
    """The median normalised return over tasks; the mean return if tasks have no scores."""
    tasks = {task.name: task for task in config.task_list()}
    normalised = [tasks[name].human_normalised(mean) for name, mean in means.items()]
    if (total := aggregate(normalised)) is not None:
        return Score(total.median, "%", source)
    return Score(statistics.fmean(means.values()), "mean return", source)


def lines(runs: Sequence[Run]) -> list[str]:
    """Tab-separated lines for other programs: column names, then one line per run."""
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
    """Prints a table, and below it each run's problem and the command that resumes it."""
    rows: list[list[Cell]] = []
    for run in runs:
        frames = percent = score = source = ""
        if run.total_frames:
            frames = f"{run.frames:,} of {run.total_frames:,}"
            percent = f"{100 * run.frames // run.total_frames} %"  # 100 only when complete
        if run.score is not None:
            score, source = f"{run.score.value:,.1f} {run.score.unit}", run.score.source
        state = Text(run.state, style=_STYLES[run.state])
        name = run.path.resolve().name  # works for "." too
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
