"""The settings, directory and table of a population of runs that are tuned together."""

import dataclasses
import fcntl
import json
import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from agents.popart_impala.config import Config
from agents.popart_impala.setting import settings
from environments import Task
from launch_programs.run.metrics import read_rows
from launch_programs.run.run_config import RunConfig, from_json
from launch_programs.run.run_directory import RunDirectory, user_path, write_json

SCHEDULERS = ("pbt", "random")


class Range(NamedTuple):
    """A closed interval: a setting's search range, or the returns that count as 0 and 100 %."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class PopulationConfig:
    """A population's settings; checked on construction.

    Raises:
      ValueError: a field is out of range; the message names the flag, the value and what is
        accepted.
    """

    run: RunConfig  # of each member, except for the tuned settings and the seed
    members: int
    interval: int  # environment frames of a member between comparisons
    scheduler: str  # one of `SCHEDULERS`
    ranges: Mapping[str, Range]  # by the name of the agent's setting
    # Returns that count as 0 and 100 %, by task, replacing the task's own reference scores.
    references: Mapping[str, Range] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        total = self.run.agent.total_environment_frames
        if self.members < 2:
            raise ValueError(f"population={self.members}: must be at least 2 members")
        if not 1 <= self.interval <= total:
            raise ValueError(
                f"perturbation_interval={self.interval}: must be from 1 to "
                f"--total_environment_frames, {total}"
            )
        if not self.ranges:
            raise ValueError("tuned=[]: must be at least one setting")
        tasks = [self.run.task_list()[task] for task in self.run.learned_tasks]
        for name in self.references:
            if name not in (known := [task.name for task in tasks]):
                raise ValueError(
                    f"reference={name!r}: must be of a task that is learned: {', '.join(known)}"
                )
        unscored = [task.name for task in tasks if self.normalised(task, 0.0) is None]
        if unscored and len(tasks) > 1:
            raise ValueError(
                f"level_name={','.join(self.run.tasks)!r}: {unscored[0]} has no scores to "
                "normalise by, without which several tasks have no common score; give "
                f"--reference={unscored[0]}:LOW:HIGH, the returns that count as 0 and 100 %"
            )
        for name, bounds in self.ranges.items():
            for value in bounds:
                self.member_run(0, {name: value})  # raises if the agent does not accept it

    @property
    def intervals(self) -> int:
        """Number of intervals that training is divided into; the last may be shorter."""
        return math.ceil(self.run.agent.total_environment_frames / self.interval)

    def normalised(self, task: Task, mean: float) -> float | None:
        """A task's mean return as a percentage of the way from its low to its high reference.

        Without references, this is `Task.human_normalised`, which may be None.
        """
        if task.name in self.references:
            low, high = self.references[task.name]
            task = dataclasses.replace(task, random_score=low, human_score=high)
        return task.human_normalised(mean)

    def member_run(
        self, member: int, tuned: Mapping[str, float], interval: int | None = None
    ) -> RunConfig:
        """The configuration of a member's run.

        Args:
          member: number of the member, from 0.
          tuned: values of the tuned settings.
          interval: number, from 0, of the interval after which the run pauses; None for the end of
            training.

        Raises:
          ValueError: a value is not accepted.
        """
        total = self.run.agent.total_environment_frames
        end = None if interval is None else min(total, (interval + 1) * self.interval)
        return dataclasses.replace(
            self.run,
            agent=dataclasses.replace(self.run.agent, **dict[str, Any](tuned)),
            seed=self.run.seed + member,
            pause_at_frames=end,
        )

    def to_json(self) -> dict[str, Any]:
        """As nested dicts, lists and scalars."""
        values = dataclasses.asdict(self)
        return {**values, "run": self.run.to_json()}


def parse_ranges(texts: list[str]) -> dict[str, Range]:
    """Parses the settings to tune.

    Args:
      texts: such as "learning_rate:1e-5:1e-2".

    Raises:
      ValueError: a text is not of that form, or names no setting of the agent that can be tuned.
    """
    known = [field.name for field in settings(Config) if field.type is float]
    form = "NAME:LOW:HIGH with 0 < LOW < HIGH, such as learning_rate:1e-4:1e-2"
    ranges = _named_ranges("tuned", texts, form, above=0.0)
    for text, name in zip(texts, ranges, strict=True):
        if name not in known:
            raise ValueError(
                f"tuned={text!r}: {name!r} cannot be tuned; must be one of {', '.join(known)}"
            )
    return ranges


def parse_references(texts: list[str]) -> dict[str, Range]:
    """Parses the returns that count as 0 and 100 %, by task.

    Args:
      texts: such as "gym:Acrobot-v1:-500:-90".

    Raises:
      ValueError: a text is not of that form.
    """
    form = "TASK:LOW:HIGH with LOW < HIGH"
    # A task's name may contain colons.
    return _named_ranges("reference", texts, form, above=-math.inf, splits=2)


def _named_ranges(
    flag: str, texts: list[str], form: str, above: float, splits: int = -1
) -> dict[str, Range]:
    """Parses texts of the form NAME:LOW:HIGH into ranges by name, in the order of the texts.

    Args:
      flag: name of the flag that gave the texts.
      texts: texts to parse.
      form: description of the accepted form, for the error message.
      above: both bounds must be greater than this.
      splits: number of colons to split at, counted from the end; -1 for all.

    Raises:
      ValueError: a text is not of that form, or a name is given twice.
    """
    ranges: dict[str, Range] = {}
    for text in texts:
        try:
            name, low, high = text.rsplit(":", splits)
            found = Range(float(low), float(high))
        except ValueError:
            name, found = "", Range(math.nan, math.nan)
        if not (name and above < found.low < found.high < math.inf):
            raise ValueError(f"{flag}={text!r}: must be {form}")
        if name in ranges:
            raise ValueError(f"{flag}={text!r}: {name} is given twice")
        ranges[name] = found
    return ranges


class Row(NamedTuple):
    """The state of a member after an interval."""

    time: float  # seconds since 1970
    interval: int  # from 0
    member: int  # from 0
    parent: int  # member it continued from: itself or a better one; -1: it started from scratch
    frames: int  # environment frames of its policy
    score: float  # see `Member.score`
    tuned: Mapping[str, float]  # values of the tuned settings during this interval

    def to_row(self) -> dict[str, str | int | float]:
        """As a row of population.csv."""
        values = self._asdict()
        return {**{k: v for k, v in values.items() if k != "tuned"}, **self.tuned}


class PopulationDirectory:
    """Paths of a population, with access to its settings and table.

    tune.json          the settings
    population.csv     a row per member and interval
    members/0, 1, ...  the run directory of each member
    plots/             figures of the population
    best.policy.npz    the best member's policy at the end
    ray/               Ray Tune's own state
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = user_path(path).absolute()
        self.settings = self.path / "tune.json"
        self.table = self.path / "population.csv"
        self.plots = self.path / "plots"
        self.best = self.path / "best.policy.npz"
        self.ray = self.path / "ray"

    def member(self, number: int) -> RunDirectory:
        """The run directory of a member."""
        return RunDirectory(self.path / "members" / str(number))

    def claim(self) -> None:
        """Creates the directory and claims it for this process.

        Raises:
          ValueError: it cannot be created, holds something else, or is claimed by another process.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not self.settings.exists() and any(self.path.iterdir()):
                raise ValueError(
                    f"logdir={str(self.path)!r}: is neither empty nor a population; give another"
                )
            self._lock = (self.path / ".lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"logdir={str(self.path)!r}: another program is tuning there; wait for it to end, "
                "or give another --logdir"
            ) from None
        except OSError as error:
            raise ValueError(
                f"logdir={str(self.path)!r}: cannot be written to: {error.strerror}"
            ) from error

    def read_config(self) -> PopulationConfig:
        """Reads the settings.

        Raises:
          ValueError: there are none, or they cannot be read.
        """
        try:
            values = json.loads(self.settings.read_text())
            parsed: dict[str, Any] = {"run": from_json(values["run"])}
            # Populations that predate references have none.
            for field in {"ranges", "references"} & values.keys():
                parsed[field] = {name: Range(*bounds) for name, bounds in values[field].items()}
            return PopulationConfig(**{**values, **parsed})
        except FileNotFoundError:
            raise ValueError(f"{self.path} is no population: it has no tune.json") from None
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{self.settings} cannot be read: {error}") from error

    def write_config(self, config: PopulationConfig) -> None:
        """Writes the settings, all or nothing."""
        write_json(self.settings, config.to_json())

    def read_rows(self) -> list[Row]:
        """Reads the table, sorted by interval and member, with only the newest row of each pair.

        Raises:
          ValueError: the table is damaged.
        """
        rows = {}
        for values in read_rows(self.table):
            try:
                row = Row(
                    time=float(values.pop("time")),
                    interval=int(values.pop("interval")),
                    member=int(values.pop("member")),
                    parent=int(values.pop("parent")),
                    frames=int(values.pop("frames")),
                    score=float(values.pop("score")),
                    tuned={name: float(value) for name, value in values.items()},
                )
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{self.table} is damaged: {error}") from error
            rows[row.interval, row.member] = row
        return [rows[key] for key in sorted(rows)]
