"""The terminal display during training: a picture of a `TrainingStatus`."""

import math
from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from launch_programs.run.training_status import TaskStatus, TrainingStatus, duration

# Screen lines left free for the messages printed above the display.
_LEFT_FREE = 4

# Spaces between columns of tasks.
_GAP = 3

# Minimum column widths, so that the layout does not shift as returns and scores grow.
_RETURN_WIDTH = 7
_LEAST_NAME = 12
_SCORE_WIDTH = 6


def render(status: TrainingStatus, path: str, width: int, height: int) -> RenderableType:
    """Draws the state of training.

    Args:
      status: the state to draw.
      path: path of the run directory.
      width: columns of the screen.
      height: lines of the screen. A few stay free for messages; tasks that do not fit are left out.

    Returns:
      What to print; at most `height` lines on any screen of ten lines or more.
    """
    head: list[RenderableType] = [_progress(status, width), *_figures(status, path, width)]
    return Group(*head, *_tasks(status, width, height - _LEFT_FREE - len(head)))


def _line(*parts: str | tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _progress(status: TrainingStatus, width: int) -> RenderableType:
    left = "" if status.seconds_left is None else f"  {duration(status.seconds_left)} left"
    words = f"{status.share:.1%}{left}"
    grid = Table.grid(padding=(0, 2))
    bar = ProgressBar(
        total=status.total_frames, completed=status.frames, width=max(1, width - len(words) - 2)
    )
    grid.add_row(bar, _line(words))
    return grid


def _figures(status: TrainingStatus, path: str, width: int) -> list[RenderableType]:
    speed = status.frames_per_second
    frames = [f"{status.frames:,} of {status.total_frames:,}"]
    if speed is not None:
        frames.append(f"{speed:,.0f} frames/s")
    elif status.frames == 0:
        frames.append("waiting for the first batch")
    lines = [_labelled("frames", frames, width)]
    row = status.losses
    if row is not None:
        lines += [
            _labelled(
                "losses",
                [
                    f"total {_number(row['loss'])}",
                    f"policy gradient {_number(row['policy_gradient_loss'])}",
                    f"baseline {_number(row['baseline_loss'])}",
                    f"entropy {_number(row['entropy_loss'])}",
                ],
                width,
            ),
            _labelled(
                "policy",
                [
                    f"entropy {_number(row['entropy'])}",
                    f"lag {row['policy_lag_mean']:.1f} updates, "
                    f"at most {row['policy_lag_max']:.0f}",
                ],
                width,
            ),
            _labelled(
                "learner",
                [
                    f"queue {_percent(row['queue_fill'])} full",
                    f"waited {_percent(row['waiting_share'])} of the time",
                    f"skipped updates {row['skipped_updates']:.0f}",
                ],
                width,
            ),
        ]
    nodes = [f"restarts {status.restarts}", f"failures {status.failures}"]
    lines.append(_labelled("nodes", nodes, width))
    room = width - _LABEL_WIDTH
    shown = path if len(path) <= room else f"...{path[3 - room :]}"
    lines.append(_labelled("run", [shown], width))
    return list(lines)


_LABEL_WIDTH = 9


def _labelled(label: str, parts: Sequence[str], width: int) -> Text:
    """A line with as many whole parts as fit: half a number would read as another number."""
    text = parts[0]
    for part in parts[1:]:
        if len(text) + 3 + len(part) > width - _LABEL_WIDTH:
            break
        text += f"   {part}"
    return _line((label.ljust(_LABEL_WIDTH), "bold"), text)


def _tasks(status: TrainingStatus, width: int, height: int) -> list[RenderableType]:
    """An empty line, the tasks in as many columns as needed, and the scores over all tasks.

    Args:
      status: the state of training.
      width: columns of the screen.
      height: lines available.
    """
    tasks = status.tasks
    scored = any(task.task.human_normalised(0.0) is not None for task in tasks)
    below = [_overall(status, width)] if len(tasks) > 1 and scored else []
    rows = height - 2 - len(below)  # without the empty line and the headings
    cells = _Cells(tasks, status.reference if scored else None, last=True, width=width)
    if len(tasks) > cells.fit(width) * rows:
        cells = _Cells(tasks, status.reference if scored else None, last=False, width=width)
    if len(tasks) > cells.fit(width) * rows:
        rows -= 1
        number = cells.fit(width) * rows
        which = "the lowest and the highest scores" if scored else "the first"
        below = [_line(f"{number} of {len(tasks)} tasks are shown, {which}"), *below]
    if rows < 1:
        return list(below[-1:] if height > 0 else [])
    shown = choose(tasks, cells.fit(width) * rows)
    columns = -(-len(shown) // rows)
    rows = -(-len(shown) // columns)  # evens out the columns
    lines = [[cells.headings] * columns]
    lines += [[cells.row(task) for task in shown[row::rows]] for row in range(rows)]
    return [Text(""), *(Text(" " * _GAP).join(line) for line in lines), *below]


def choose(tasks: Sequence[TaskStatus], number: int) -> list[TaskStatus]:
    """Chooses the tasks to show if not all fit, keeping their order.

    Half of them have the highest normalised scores and half the lowest, to show what the network
    has learned and what it has not. Tasks without a score are chosen last.

    Args:
      tasks: all tasks.
      number: maximum number of tasks to choose, at least 1.
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


def _overall(status: TrainingStatus, width: int) -> Text:
    scores = status.normalised
    if scores is None:
        return _line(f"{status.reference}-normalised: no episode yet")
    label = f"{status.reference}-normalised"
    text = f" over {len(status.played)} of {len(status.tasks)} tasks: median {scores.median:.1f} %"
    mean = f", mean {scores.mean:.1f} %"
    if len(label) + len(text) + len(mean) <= width:
        text += mean
    return _line((label, "bold"), text)


class _Cells:
    """Lays out the table of tasks, with every task's cells equally wide."""

    def __init__(
        self, tasks: Sequence[TaskStatus], reference: str | None, *, last: bool, width: int
    ):
        """Measures the columns.

        Args:
          tasks: all tasks that may be shown.
          reference: what scores are normalised by; None if no task has scores.
          last: whether to show the last return besides the mean.
          width: columns of the screen.
        """
        self._columns: list[tuple[str, int, Callable[[TaskStatus], str]]] = [
            ("task", 0, lambda task: _shortened(task.task.name, self._room)),
            ("mean 100", _RETURN_WIDTH, lambda task: _return(task.mean_return)),
        ]
        if last:
            self._columns.insert(1, ("last", _RETURN_WIDTH, lambda t: _return(t.last_return)))
        if reference is not None:
            self._columns.append((f"{reference} %", _SCORE_WIDTH, _score))
        numbers = [
            2 + max(least, len(heading), *(len(text(task)) for task in tasks))
            for heading, least, text in self._columns[1:]
        ]
        self._room = max(_LEAST_NAME, width - sum(numbers))
        self._widths = [
            max(least, len(heading), *(len(text(task)) for task in tasks))
            for heading, least, text in self._columns
        ]

    def fit(self, width: int) -> int:
        """Number of tasks that fit side by side on a screen of `width` columns; at least 1."""
        return max(1, (width + _GAP) // (len(self.headings) + _GAP))

    @property
    def headings(self) -> Text:
        """The line of headings."""
        text = self._aligned([heading for heading, _, _ in self._columns])
        return _line((text, "bold"))

    def row(self, task: TaskStatus) -> Text:
        """The line of one task."""
        return _line(self._aligned([text(task) for _, _, text in self._columns]))

    def _aligned(self, texts: Sequence[str]) -> str:
        """Aligns names to the left and numbers to the right."""
        name, *numbers = texts
        cells = [n.rjust(width) for n, width in zip(numbers, self._widths[1:], strict=True)]
        return "  ".join([name.ljust(self._widths[0]), *cells])


def _shortened(name: str, room: int) -> str:
    """Cuts out the middle of a name that is too long: names may differ only at their ends."""
    if len(name) <= room:
        return name
    end = (room - 3) // 2
    return f"{name[: room - 3 - end]}...{name[-end:]}"


def _return(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.1f}" if abs(value) < 10_000 else f"{value:,.0f}"


def _score(task: TaskStatus) -> str:
    return "-" if task.normalised is None else f"{task.normalised:,.1f}"


def _number(value: float) -> str:
    """Formats a number with about three digits."""
    size = abs(value)
    if not math.isfinite(value) or size >= 1e7:
        return f"{value:.3g}"
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3g}"


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.0%}".replace("%", " %")
