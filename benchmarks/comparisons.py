"""What `benchmarks.learning` compares: configurations, their training tasks, and the claims."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from agents.popart_impala import Config
from agents.popart_impala.networks import make_networks
from environments import SUITES
from environments.toy import GAMES, Catch

# Hyperparameters common to all configurations of all comparisons, found by trying a few learning
# rates with PopArt. Unrolls are as long as Catch's episodes; a batch is one unroll from each
# environment, and their number is a multiple of 1, 2, 3, 4 and 6 tasks.
BASE = Config(
    network="mlp",
    hidden_size=64,
    normalise_images=False,
    unroll_length=9,
    batch_size=36,
    action_repeat=1,
    # The papers' learner: these comparisons are about normalisation, networks and columns.
    loss_reduction="sum",
    vtrace_lambda=1.0,
    standardise_advantages=False,
    ratio_clip=None,
    passes=1,
    minibatches=1,
    optimiser="rmsprop",
    learning_rate=5e-3,
    warmup_updates=0,
    gradient_clipping=40.0,
)


@dataclasses.dataclass(frozen=True)
class Phase:
    """A stretch of training. A later one continues with the parameters of the one before."""

    tasks: tuple[str, ...]  # the tasks that the network is made for
    played: tuple[str, ...]  # the subset trained on
    config: Config  # its `total_environment_frames` is the phase's length
    evaluated: tuple[str, ...] = ()  # the subset whose return is measured afterwards


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim that one configuration exceeds another in some measure."""

    better: str
    worse: str
    measure: str  # a key of `benchmarks.verdicts.MEASURES`


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Configurations that differ in one thing only."""

    title: str
    configurations: Mapping[str, tuple[Phase, ...]]
    claims: tuple[Claim, ...]

    def with_frames(self, frames: int) -> "Comparison":
        """The same comparison, with another length for every phase."""
        return dataclasses.replace(
            self,
            configurations={
                name: tuple(
                    dataclasses.replace(phase, config=_changed(phase.config, frames))
                    for phase in phases
                )
                for name, phases in self.configurations.items()
            },
        )


def _changed(config: Config, frames: int, **changes: Any) -> Config:
    return dataclasses.replace(config, total_environment_frames=frames, **changes)


def _normalisation(title: str, tasks: tuple[str, ...], frames: int) -> Comparison:
    """PopArt, no normalisation, and reward clipping without normalisation."""

    def on_tasks(**changes: Any) -> tuple[Phase, ...]:
        return (Phase(tasks, tasks, _changed(BASE, frames, **changes)),)

    return Comparison(
        title,
        {
            "PopArt": on_tasks(),
            "clipped rewards": on_tasks(popart=False, reward_clipping="abs_one"),
            "no normalisation": on_tasks(popart=False),
        },
        tuple(
            Claim("PopArt", other, measure)
            for measure in ("training", "end")
            for other in ("clipped rewards", "no normalisation")
        ),
    )


def scales() -> Comparison:
    """The same game with rewards of three scales; if clipped, gold is worth no more than copper."""
    return _normalisation("Reward scales 1, 100, 10,000", SUITES["toy_scales"], 300_000)


def changing() -> Comparison:
    """A game whose rewards are multiplied by 1,000 shortly after half of the frames."""
    game = GAMES["choice_changing"]
    # An episode is one unroll, and every environment counts its own.
    frames = game.changes_at * BASE.unroll_length * BASE.batch_size
    title = f"Rewards x{game.factor:,.0f} from frame {frames:,} on"
    return _normalisation(title, ("choice_changing",), 600_000)


def density() -> Comparison:
    """Rewards on every step, and rewards that random play rarely reaches, at two scales."""
    return _normalisation("Dense and sparse rewards", SUITES["toy_density"], 400_000)


def conflict() -> Comparison:
    """Games that look the same but need different actions."""
    tasks, frames = SUITES["toy_conflict"], 600_000
    attentive = _changed(BASE, frames, network="attentive")
    shared = matched(_changed(BASE, frames), attentive, len(tasks))
    told = matched(_changed(BASE, frames, task_input=True), attentive, len(tasks))
    configurations = {
        "attentive": attentive,
        "shared, told the task": told,
        "shared, not told": shared,
    }
    return Comparison(
        "Conflicting tasks, equal parameters",
        {name: (Phase(tasks, tasks, config),) for name, config in configurations.items()},
        tuple(
            Claim("attentive", other, measure)
            for measure in ("training", "end")
            for other in ("shared, told the task", "shared, not told")
        ),
    )


def progressive() -> Comparison:
    """A second task after a first: is it learned faster, and is the first one kept?"""
    a, b = "catch_lsr", "catch_rsl"
    first, second = 150_000, 150_000
    column = _changed(BASE, first, network="progressive")
    shared = _changed(BASE, first)
    return Comparison(
        "A second task after a first",
        {
            "progressive": (
                Phase((a,), (a,), column, evaluated=(a,)),
                Phase((a, b), (b,), _changed(column, second, frozen_columns=(1,)), evaluated=(a,)),
            ),
            "fine-tuning": (
                Phase((a, b), (a,), shared, evaluated=(a,)),
                Phase((a, b), (b,), _changed(shared, second), evaluated=(a,)),
            ),
            "from scratch": (Phase((b,), (b,), _changed(column, second)),),
        },
        (
            Claim("progressive", "from scratch", "training"),
            Claim("progressive", "fine-tuning", "training"),
            Claim("progressive", "fine-tuning", "kept"),
        ),
    )


COMPARISONS: dict[str, Callable[[], Comparison]] = {
    make.__name__: make for make in (scales, changing, density, conflict, progressive)
}


def num_params(config: Config, num_tasks: int) -> int:
    """Number of parameters of a network for `num_tasks` toy tasks."""
    game = Catch()
    return make_networks(
        config,
        features_spec=game.observation_spec(),
        num_actions=game.action_spec().num_values,
        num_tasks=num_tasks,
    ).num_params


def matched(config: Config, model: Config, num_tasks: int) -> Config:
    """`config` with the smallest hidden_size that has at least `model`'s number of parameters."""
    wanted = num_params(model, num_tasks)
    low, high = 0, 1  # too small, large enough
    while num_params(dataclasses.replace(config, hidden_size=high), num_tasks) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        enough = num_params(dataclasses.replace(config, hidden_size=middle), num_tasks) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return dataclasses.replace(config, hidden_size=high)
