"""The state of a run's training, assembled from the rows of its tables."""

import collections
import math
import statistics
from collections.abc import Callable, Mapping

from environments import Task
from environments.scores import RECENT_EPISODES, Aggregate, aggregate
from launch_programs.run.metrics import TableFollower
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory

# Maximum bytes of earlier rows to read: about 100,000 episodes, which takes a second.
_TAIL = 2**23

AnyRow = Mapping[str, str | int | float]


class TaskStatus:
    """The training episodes of one task."""

    def __init__(self, task: Task):
        self.task = task
        self.episodes = 0  # read so far
        self._recent: collections.deque[float] = collections.deque(maxlen=RECENT_EPISODES)

    def add(self, episode_return: float) -> None:
        """Counts an episode."""
        self.episodes += 1
        self._recent.append(episode_return)

    @property
    def last_return(self) -> float | None:
        """Return of the last episode; None before the first."""
        return self._recent[-1] if self._recent else None

    @property
    def mean_return(self) -> float | None:
        """Mean return of the last `RECENT_EPISODES`; None before the first."""
        return statistics.fmean(self._recent) if self._recent else None

    @property
    def normalised(self) -> float | None:
        """The mean return in percent: 0 is random play, 100 a human or a toy task's optimum.

        None before the first episode, and for a task without such scores.
        """
        mean = self.mean_return
        return None if mean is None else self.task.human_normalised(mean)


class TrainingStatus:
    """The present state of training.

    Attributes:
      reference: what scores are normalised by besides random play: "human" or "optimum".
      total_frames: environment frames at which training ends.
      frames: environment frames consumed so far.
      tasks: the tasks to learn, in the run's order.
      losses: the newest row of learner.csv; None before the first.
      frames_per_second: the last speed measured in this start of the run; None before that.
      restarts: number of restarts after a node died, since the run began.
      failures: number of all other failures that the run recovered from.
    """

    def __init__(self, config: RunConfig, since: float = 0.0):
        """Knows nothing yet.

        Args:
          config: the run.
          since: when this start of the run began, in seconds since the epoch; speeds from before
            are ignored.
        """
        self._since = since
        self._steady = False  # whether the speed excludes start-up
        self._time = 0.0  # time of the row that `frames` is from
        self._last_times: dict[str, float] = {}  # time of each table's last row
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
        """Fraction of training done, at most 1: the last update may overshoot the total."""
        return min(1.0, self.frames / self.total_frames)

    def add_learner_row(self, row: AnyRow) -> None:
        """Adds a row of learner.csv."""
        self.losses = {name: float(value) for name, value in row.items()}
        self._set_frames("learner", row)
        speed = float(row["frames_per_second"])
        if float(row["time"]) >= self._since and math.isfinite(speed):
            # The first row's speed includes start-up: processes, and compiling the update.
            self._steady = self.frames_per_second is not None
            self.frames_per_second = speed

    def add_episode(self, row: AnyRow) -> None:
        """Adds a row of actors.csv."""
        self._by_name[str(row["task"])].add(float(row["episode_return"]))
        self._set_frames("actors", row)

    def add_failure(self, row: AnyRow) -> None:
        """Adds a row of failures.csv."""
        if int(row["restart"]):
            self.restarts += 1
        else:
            self.failures += 1

    def _set_frames(self, table: str, row: AnyRow) -> None:
        time = float(row["time"])
        if time < self._last_times.get(table, time):
            # A table's rows are in order, so the clock was set back.
            self._time, self._since = min(self._time, time), min(self._since, time)
        self._last_times[table] = time
        # Newest by time, since the tables are read one after the other, and not by frames, since a
        # resumed run goes back to its checkpoint.
        if time >= self._time:
            self._time, self.frames = time, int(row["frames"])

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the end at the present speed; None if that is not yet known, or 0."""
        if self.frames >= self.total_frames:
            return 0.0
        if not self._steady or not self.frames_per_second:
            return None
        return (self.total_frames - self.frames) / self.frames_per_second

    @property
    def played(self) -> list[TaskStatus]:
        """The tasks with at least one episode."""
        return [task for task in self.tasks if task.episodes]

    @property
    def normalised(self) -> Aggregate | None:
        """Scores over the played tasks; None without any, or if one has no reference scores."""
        return aggregate([task.normalised for task in self.played])


class StatusFollower:
    """Feeds a status with the rows of a run's tables as they arrive."""

    def __init__(self, directory: RunDirectory, status: TrainingStatus):
        """Starts before the ends of the tables, so that a resumed run keeps its recent returns."""
        self._tables: list[tuple[TableFollower, Callable[[AnyRow], None]]] = [
            (TableFollower(directory.tables["learner"], _TAIL), status.add_learner_row),
            (TableFollower(directory.tables["actors"], _TAIL), status.add_episode),
            (TableFollower(directory.failures), status.add_failure),
        ]

    def update(self) -> None:
        """Adds the rows that have arrived."""
        for table, add in self._tables:
            for row in table.new_rows():
                add(row)

    def close(self) -> None:
        """Adds the last rows."""
        self.update()


def duration(seconds: float) -> str:
    """Formats a duration, such as "0m59s" or "61h43m"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"
