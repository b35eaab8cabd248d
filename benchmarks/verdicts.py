"""Judges the runs of `benchmarks.learning`: measures, and which claims hold."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.comparisons import Claim, Comparison

# A phase's result as `benchmarks.training` writes it; a run is a list of them.
Run = Sequence[Mapping[str, Any]]


def task_mean(phase: Mapping[str, Any]) -> list[float | None]:
    """The learning curve: each bin's mean return over tasks; None where a task has none."""
    return [
        None if None in returns else statistics.fmean(returns)
        for returns in zip(*phase["curves"].values(), strict=True)
    ]


def _training(run: Run) -> float:
    return statistics.fmean(x for x in task_mean(run[-1]) if x is not None)


def _end(run: Run) -> float:
    curve = task_mean(run[-1])
    return statistics.fmean(x for x in curve[-(len(curve) // 10) :] if x is not None)


def _kept(run: Run) -> float:
    (task,) = run[0]["evaluation"]
    return run[-1]["evaluation"][task] - run[0]["evaluation"][task]


class Measure(NamedTuple):
    """A number computed from a run; higher is better."""

    of: Callable[[Run], float]
    description: str
    phases: int = 1  # how many a run needs for it


# Returns are normalised (random play 0, optimum 1) and means over tasks.
MEASURES: dict[str, Measure] = {
    "training": Measure(_training, "mean return over the whole (last phase of) training"),
    "end": Measure(_end, "mean return in the last tenth of training"),
    "kept": Measure(_kept, "the first task's return after the second minus before", 2),
}


class Spread(NamedTuple):
    """A measure over seeds."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


def spread(values: Sequence[float]) -> Spread:
    """Mean, lowest and highest value over seeds."""
    return Spread(statistics.fmean(values), min(values), max(values))


class Verdict(NamedTuple):
    """What the seeds say about a claim."""

    claim: Claim
    better: Spread  # of the configuration that is claimed to be better
    worse: Spread

    @property
    def holds(self) -> bool:
        """Whether the better configuration's worst seed is above the other's best seed."""
        return self.better.low > self.worse.high

    @property
    def difference(self) -> float:
        """Difference of the means."""
        return self.better.mean - self.worse.mean


def judge(comparison: Comparison, runs: Mapping[str, Sequence[Run]]) -> list[Verdict]:
    """Judges a comparison's claims.

    Args:
      comparison: the comparison that makes the claims.
      runs: by configuration, one run per seed.
    """
    verdicts = []
    for claim in comparison.claims:
        of = MEASURES[claim.measure].of
        better, worse = (
            spread([of(run) for run in runs[name]]) for name in (claim.better, claim.worse)
        )
        verdicts.append(Verdict(claim, better, worse))
    return verdicts
