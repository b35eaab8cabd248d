"""Computes the curve of one run of `benchmarks.atari` from its tables."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.atari_runs import CONFIGURATIONS, Run
from environments import parse_level_name
from environments.scores import RECENT_EPISODES
from launch_programs.run.history import Episodes, read_tables
from launch_programs.run.run_directory import RunDirectory

# Points of a curve.
POINTS = 200
# Frames after which the lowest score is looked for: before that, a policy is as good as random.
SETTLED_FRAMES = 300_000


@dataclasses.dataclass(frozen=True)
class Record:
    """What a run has recorded; arrays of shape [N], one value for each row of metrics."""

    run: Run
    starts: int  # how often it was started
    frames: np.ndarray  # int64, environment frames; never falls
    minutes: np.ndarray  # float64, of training; never falls
    policy_lag: np.ndarray  # float64, updates
    waiting_share: np.ndarray  # float64, of the learner's time; NaN for a peer
    episodes: Mapping[str, Episodes]  # of each task

    @property
    def rows(self) -> int:
        """Rows of metrics that count."""
        return len(self.frames)

    def is_enough(self) -> bool:
        """Whether a run limited in minutes has used them. One limited in frames ends by itself."""
        return self.run.minutes is not None and self._minutes >= self.run.minutes

    @property
    def _minutes(self) -> float:
        return float(self.minutes[-1]) if self.rows else 0.0

    @property
    def end(self) -> int:
        """Frames at the run's end, or so far; anything after its allotted time does not count."""
        if not self.rows:
            return 0
        if self.run.minutes is not None and self._minutes > self.run.minutes:
            return int(np.interp(self.run.minutes, self.minutes, self.frames))
        ends = [own.frames[-1] for own in self.episodes.values() if len(own)]
        return int(max(self.frames[-1], *ends)) if ends else int(self.frames[-1])

    def describe(self) -> str:
        """The run's progress, in one line."""
        scores = [
            f"{task} {score:,.1f}"
            for task, own in self.episodes.items()
            if not math.isnan(score := float(mean_returns(own, np.array([self.end]))[0]))
        ]
        return f"{self.end:,} frames  {self._minutes:.1f} minutes  {'  '.join(scores)}"


def read_record(run: Run, logdir: pathlib.Path, starts: Sequence[float]) -> Record:
    """Reads a run's tables, also while it is running.

    Args:
      run: the run.
      logdir: run directory, this project's or a peer's.
      starts: when it was started, seconds since 1970.

    Raises:
      ValueError: a table is damaged.
      OSError: a file cannot be read.
    """
    tasks = [task.name for task in parse_level_name(run.level_name)]
    paths = RunDirectory(logdir).tables
    # A damaged or foreign evaluator table would be no reason to fail, so it is not read.
    tables = read_tables({**paths, "evaluator": logdir / "no-such-table"}, tasks)
    learner = tables.learner
    frames = learner.get("frames", np.zeros(0, np.int64))
    nothing = np.full(len(frames), np.nan)
    return Record(
        run=run,
        starts=len(starts),
        frames=frames,
        minutes=training_minutes(learner.get("time", nothing), starts),
        policy_lag=learner.get("policy_lag_mean", nothing),
        waiting_share=learner.get("waiting_share", nothing),
        episodes=tables.actors,
    )


def training_minutes(times: np.ndarray, starts: Sequence[float]) -> np.ndarray:
    """Minutes of training at each row of metrics, summed between the rows of the same start.

    So neither a program's start-up counts, nor the time between two starts, nor training after the
    checkpoint that the next start resumed from.

    Args:
      times: the rows' times, seconds since 1970, float64 [N].
      starts: when the program was started, in the same unit.

    Returns:
      float64 [N].
    """
    start = np.searchsorted(np.sort(starts), times, side="right")
    seconds = np.diff(times, prepend=times[:1])
    seconds[np.diff(start, prepend=start[:1]) != 0] = 0.0
    return np.cumsum(np.maximum(seconds, 0.0)) / 60.0  # a clock may be set back


def mean_returns(episodes: Episodes, at: np.ndarray) -> np.ndarray:
    """Mean return of the last `RECENT_EPISODES` at given frames; of fewer at the beginning.

    Args:
      episodes: one task's episodes.
      at: frames [P].

    Returns:
      float64 [P], NaN before the first episode.
    """
    sums = np.concatenate([[0.0], np.cumsum(episodes.returns)])
    end = np.searchsorted(episodes.frames, at, side="right")
    begin = np.maximum(end - RECENT_EPISODES, 0)
    return (sums[end] - sums[begin]) / np.where(end > 0, end - begin, np.nan)


def lowest(episodes: Episodes, end: int) -> float:
    """The lowest mean return after `SETTLED_FRAMES`; NaN if there is none.

    Args:
      episodes: one task's episodes.
      end: frames at which the run ends.
    """
    if end < SETTLED_FRAMES:
        return math.nan
    within = (episodes.frames > SETTLED_FRAMES) & (episodes.frames <= end)
    means = mean_returns(episodes, np.array([SETTLED_FRAMES, *episodes.frames[within]]))
    known = means[~np.isnan(means)]
    return float(known.min()) if len(known) else math.nan


def result(record: Record, *, finished: bool, commit: str | None) -> dict[str, Any]:
    """What is kept of a run, as JSON: at most `POINTS` points, null for unknown values.

    Args:
      record: the run's record.
      finished: whether it has used all its frames or minutes.
      commit: this project's commit; None if unknown.
    """
    run, end = record.run, record.end
    at = np.unique(np.linspace(0, end, POINTS + 1)[1:].astype(np.int64)) if end else np.zeros(0)
    counts = record.frames <= end

    def along(values: np.ndarray) -> list[float | None]:
        if not record.rows:
            return []
        return [_rounded(x) for x in np.interp(at, record.frames, values)]

    def overall(values: np.ndarray) -> float | None:
        known = values[counts & ~np.isnan(values)]
        return _rounded(float(known.mean())) if len(known) else None

    minutes = along(record.minutes)
    configuration = CONFIGURATIONS[run.configuration]
    seconds = 60.0 * float(np.interp(end, record.frames, record.minutes)) if record.rows else 0.0
    first = int(record.frames[0]) if record.rows else 0
    return {
        **dataclasses.asdict(run),
        "program": configuration.program,
        "flags": list(configuration.flags),
        "finished": finished,
        "starts": record.starts,
        "commit": commit,
        "end": {
            "frames": end,
            "minutes": _rounded(seconds / 60.0),
            # The clock starts with the first row.
            "frames_per_second": _rounded((end - first) / seconds) if seconds else None,
            "policy_lag": overall(record.policy_lag),
            "waiting_share": overall(record.waiting_share),
            "scores": {
                task: _rounded(float(mean_returns(own, np.array([end]))[0]))
                for task, own in record.episodes.items()
            },
            "lowest": {task: _rounded(lowest(own, end)) for task, own in record.episodes.items()},
            "episodes": {
                task: int(np.searchsorted(own.frames, end, side="right"))
                for task, own in record.episodes.items()
            },
        },
        "curve": {
            "frames": [int(x) for x in at],
            "minutes": minutes,
            "policy_lag": along(record.policy_lag),
            "waiting_share": along(record.waiting_share),
            "scores": {
                task: [_rounded(x) for x in mean_returns(own, at)]
                for task, own in record.episodes.items()
            },
        },
    }


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 3)
