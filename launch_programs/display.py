"""What a user sees on a terminal while it trains: a picture of a `TrainingStatus`."""

import math
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from launch_programs.training_status import TaskStatus, TrainingStatus, duration

# Lines of the screen that are left to what is printed above.
_LEFT_FREE = 4

# Spaces between columns of tasks.
_GAP = 3

# Least widths of returns and normalised scores, so that the picture does not move as they grow.
_RETURN_WIDTH = 7
_SCORE_WIDTH = 6


def render(status: TrainingStatus, path: str, width: int, height: int) -> RenderableType:
    """Draws how training stands.

    Args:
      status: how it stands.
      path: of the run directory.
      width: columns of the screen.
      height: lines of the screen. A few stay free for messages; tasks that do not fit are left out.

    Returns:
      What to print; at most `height` lines for every screen of ten lines or more.
    """
    head: list[RenderableType] = [_progress(status, width), *_figures(status, path, width)]
    return Group(*head, *_tasks(status.tasks, width, height - _LEFT_FREE - len(head), status))


def _line(*parts: str | tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _progress(status: TrainingStatus, width: int) -> RenderableType:
    left = "" if status.seconds_left is None else f"  {duration(status.seconds_left)} left"
    words = f"{status.frames / status.total_frames:.1%}{left}"
    grid = Table.grid(padding=(0, 2))
    bar = ProgressBar(
        total=status.total_frames, completed=status.frames, width=max(1, width - len(words) - 2)
    )
    grid.add_row(bar, _line(words))
    return grid


def _figures(status: TrainingStatus, path: str, width: int) -> list[RenderableType]:
    speed = status.frames_per_second
    frames = f"{status.frames:,} of {status.total_frames:,}"
    if speed is not None:
        frames += f"   {speed:,.0f} frames/s"
    elif status.frames == 0:
        frames += "   waiting for the first batch"
    lines = [_labelled("frames", frames)]
    row = status.losses
    if row is not None:
        lines += [
            _labelled(
                "losses",
                f"total {_number(row['loss'])}"
                f"   policy gradient {_number(row['policy_gradient_loss'])}"
                f"   baseline {_number(row['baseline_loss'])}"
                f"   entropy {_number(row['entropy_loss'])}",
            ),
            _labelled(
                "policy",
                f"entropy {_number(row['entropy'])}"
                f"   lag {row['policy_lag_mean']:.1f} updates, at most {row['policy_lag_max']:.0f}",
            ),
            _labelled(
                "learner",
                f"queue {_percent(row['queue_fill'])} full"
                f"   waited {_percent(row['waiting_share'])} of the time"
                f"   skipped updates {row['skipped_updates']:.0f}",
            ),
        ]
    lines.append(_labelled("nodes", f"restarts {status.restarts}   failures {status.failures}"))
    room = width - _LABEL_WIDTH
    lines.append(_labelled("run", path if len(path) <= room else f"...{path[3 - room :]}"))
    return list(lines)


_LABEL_WIDTH = 9


def _labelled(label: str, text: str) -> Text:
    return _line((label.ljust(_LABEL_WIDTH), "bold"), text)


def _tasks(
    tasks: Sequence[TaskStatus], width: int, height: int, status: TrainingStatus
) -> list[RenderableType]:
    """An empty line, a table in as many columns as it needs and fit, and what is of all tasks."""
    scored = any(task.task.human_normalised(0.0) is not None for task in tasks)
    cells = _Cells(tasks, status.reference if scored else None)
    below = 1 if len(tasks) > 1 and scored else 0
    rows = height - 2 - below  # the empty line, the headings
    most = max(1, (width + _GAP) // (cells.width + _GAP))
    note = 0
    if len(tasks) > most * rows:
        note = 1
        rows -= 1
    if rows < 1:
        return []
    shown = choose(tasks, most * rows)
    columns = -(-len(shown) // rows)
    rows = -(-len(shown) // columns)
    grid = [cells.headings, *(cells.row(task) for task in shown[:rows])]
    for column in range(1, columns):
        more = [cells.headings, *(cells.row(t) for t in shown[column * rows : (column + 1) * rows])]
        for line, part in zip(grid, more, strict=False):
            line.append(" " * _GAP).append_text(part)
    lines: list[RenderableType] = [Text(""), *grid]
    if note:
        how = "the lowest and the highest scores" if scored else "the first"
        lines.append(_line((f"{len(shown)} of {len(tasks)} tasks are shown, {how}", "dim")))
    if below:
        lines.append(_overall(status))
    return lines


def choose(tasks: Sequence[TaskStatus], number: int) -> list[TaskStatus]:
    """The tasks to show where not all fit, in their order.

    Half of them are those with the highest normalised scores, half those with the lowest: what
    the network has learned, and what not. Tasks without a score come last.

    Args:
      tasks: all.
      number: how many to choose at most.
    """
    if len(tasks) <= number:
        return list(tasks)
    by_score = sorted(
        (task for task in tasks if task.normalised is not None), key=lambda t: t.normalised or 0.0
    )
    half = number // 2
    ends = by_score if len(by_score) <= number else by_score[:half] + by_score[half - number :]
    chosen = {task.task.name for task in ends}
    for task in tasks:
        if len(chosen) < number:
            chosen.add(task.task.name)
    return [task for task in tasks if task.task.name in chosen]


def _overall(status: TrainingStatus) -> Text:
    scores = status.normalised
    if scores is None:
        return _line(f"{status.reference}-normalised: no episode yet")
    return _line(
        (f"{status.reference}-normalised", "bold"),
        f" over {scores.tasks} of {len(status.tasks)} tasks: "
        f"median {scores.median:.1f} %, mean {scores.mean:.1f} %",
    )


class _Cells:
    """The lines of the tasks' table, all as wide as each other."""

    def __init__(self, tasks: Sequence[TaskStatus], reference: str | None):
        """Measures.

        Args:
          tasks: all of which there may be lines.
          reference: what scores are normalised by; None for tasks that have none.
        """
        self._scores = reference is not None
        self._name = max(len("task"), *(len(task.task.name) for task in tasks))
        self._name = min(self._name, _LONGEST_NAME)
        values = [v for task in tasks for v in (task.last_return, task.mean_return)]
        self._return = max(_RETURN_WIDTH, *(len(_return(value)) for value in values))
        self._score = max(_SCORE_WIDTH, *(len(_score(task)) for task in tasks))
        heads = ["task".ljust(self._name), "last".rjust(self._return), "mean".rjust(self._return)]
        if reference is not None:
            heads.append(f"{reference} %".rjust(self._score)[: self._score + 2])
            self._score = max(self._score, len(heads[-1]))
        self._heads = heads
        self.width = len("  ".join(heads))

    @property
    def headings(self) -> Text:
        return _line(("  ".join(self._heads), "bold"))

    def row(self, task: TaskStatus) -> Text:
        name = task.task.name
        if len(name) > self._name:
            name = f"{name[: self._name - 3]}..."
        parts = [
            name.ljust(self._name),
            _return(task.last_return).rjust(self._return),
            _return(task.mean_return).rjust(self._return),
        ]
        if self._scores:
            parts.append(_score(task).rjust(self._score))
        return _line("  ".join(parts))


_LONGEST_NAME = 40


def _return(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.1f}" if abs(value) < 10_000 else f"{value:,.0f}"


def _score(task: TaskStatus) -> str:
    return "-" if task.normalised is None else f"{task.normalised:,.1f}"


def _number(value: float) -> str:
    """With about three digits."""
    size = abs(value)
    if not math.isfinite(value) or size >= 1e7:
        return f"{value:.3g}"
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3g}"


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.0%}".replace("%", " %")
