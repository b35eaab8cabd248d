"""How a run's training stands, put together from the rows of its tables."""

import collections
import math
import statistics
from collections.abc import Callable, Mapping

from environments import Task
from environments.scores import RECENT_EPISODES, Aggregate, aggregate
from launch_programs.run.metrics import TableFollower
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory

# Bytes of an earlier start's rows that are read: a second's work, and some 100,000 episodes.
_TAIL = 2**23

AnyRow = Mapping[str, str | int | float]


class TaskStatus:
    """The training episodes of one task."""

    def __init__(self, task: Task):
        self.task = task
        self.episodes = 0  # that were read
        self._recent: collections.deque[float] = collections.deque(maxlen=RECENT_EPISODES)

    def add(self, episode_return: float) -> None:
        """Counts an episode."""
        self.episodes += 1
        self._recent.append(episode_return)

    @property
    def last_return(self) -> float | None:
        """Of the last episode; None before the first."""
        return self._recent[-1] if self._recent else None

    @property
    def mean_return(self) -> float | None:
        """Of the last `RECENT_EPISODES`; None before the first."""
        return statistics.fmean(self._recent) if self._recent else None

    @property
    def normalised(self) -> float | None:
        """The mean return in percent: 0 is random play's, 100 a human's or a toy task's optimum.

        None before the first episode, and for a task without such scores.
        """
        mean = self.mean_return
        return None if mean is None else self.task.human_normalised(mean)


class TrainingStatus:
    """How training stands.

    Attributes:
      reference: what scores are normalised by besides random play: "human" or "optimum".
      total_frames: where training ends.
      frames: consumed so far.
      tasks: those that are learned, in the run's order.
      losses: the newest row of learner.csv; None before the first.
      frames_per_second: as this start of the run has measured it last; None before that.
      restarts: times that a node that had died was started again, since the run began.
      failures: all else that was got over.
    """

    def __init__(self, config: RunConfig, since: float = 0.0):
        """Knows nothing yet.

        Args:
          config: the run.
          since: when this start of the run began, in seconds since the epoch. The speed of one
            before is not that of this one.
        """
        self._since = since
        self._steady = False  # whether the speed is that of training, not of its start
        self._time = 0.0  # of the row that `frames` is from
        self._last_times: dict[str, float] = {}  # of each table's last row
        self._by_name = {task.name: TaskStatus(task) for task in config.task_list()}
        self.reference = config.task_list()[0].reference
        self.total_frames = config.agent.total_environment_frames
        self.frames = 0
        self.tasks = [self._by_name[config.tasks[task]] for task in config.learned_tasks]
        self.losses: dict[str, float] | None = None
        self.frames_per_second: float | None = None
        self.restarts = 0
        self.failures = 0

    @property
    def share(self) -> float:
        """How much of training is done, 0 to 1. The last update may have more frames than asked."""
        return min(1.0, self.frames / self.total_frames)

    def add_learner_row(self, row: AnyRow) -> None:
        """Takes in a row of learner.csv."""
        self.losses = {name: float(value) for name, value in row.items()}
        self._set_frames("learner", row)
        speed = float(row["frames_per_second"])
        if float(row["time"]) >= self._since and math.isfinite(speed):
            # The first row's time has the start in it: processes, and the update's compilation.
            self._steady = self.frames_per_second is not None
            self.frames_per_second = speed

    def add_episode(self, row: AnyRow) -> None:
        """Takes in a row of actors.csv."""
        self._by_name[str(row["task"])].add(float(row["episode_return"]))
        self._set_frames("actors", row)

    def add_failure(self, row: AnyRow) -> None:
        """Takes in a row of failures.csv."""
        if int(row["restart"]):
            self.restarts += 1
        else:
            self.failures += 1

    def _set_frames(self, table: str, row: AnyRow) -> None:
        time = float(row["time"])
        if time < self._last_times.get(table, time):
            # A table's rows are in order: the clock was set back.
            self._time, self._since = min(self._time, time), min(self._since, time)
        self._last_times[table] = time
        # The tables are read one after the other. A resumed run may go back, to its checkpoint.
        if time >= self._time:
            self._time, self.frames = time, int(row["frames"])

    @property
    def seconds_left(self) -> float | None:
        """At the present speed; None if that is not known yet, or 0."""
        if self.frames >= self.total_frames:
            return 0.0
        if not self._steady or not self.frames_per_second:
            return None
        return (self.total_frames - self.frames) / self.frames_per_second

    @property
    def played(self) -> list[TaskStatus]:
        """The tasks that have an episode."""
        return [task for task in self.tasks if task.episodes]

    @property
    def normalised(self) -> Aggregate | None:
        """Over the tasks that have an episode; None if one has no scores to normalise by."""
        return aggregate([task.normalised for task in self.played])


class StatusFollower:
    """Feeds a status with the rows of a run's tables, as they come."""

    def __init__(self, directory: RunDirectory, status: TrainingStatus):
        """Starts before the tables' ends, so that a resumed run continues with its returns."""
        self._tables: list[tuple[TableFollower, Callable[[AnyRow], None]]] = [
            (TableFollower(directory.tables["learner"], _TAIL), status.add_learner_row),
            (TableFollower(directory.tables["actors"], _TAIL), status.add_episode),
            (TableFollower(directory.failures), status.add_failure),
        ]

    def update(self) -> None:
        """Takes in the rows that have come."""
        for table, add in self._tables:
            for row in table.new_rows():
                add(row)

    def close(self) -> None:
        """Takes in the last rows."""
        self.update()


def duration(seconds: float) -> str:
    """Such as "0m59s" or "61h43m"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"
