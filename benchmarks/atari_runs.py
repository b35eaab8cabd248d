"""What `benchmarks.atari` runs: the list, in its order."""

import dataclasses
from collections.abc import Mapping, Sequence

from environments import SUITES, parse_level_name, suite_name


@dataclasses.dataclass(frozen=True)
class Configuration:
    """A program and its settings."""

    flags: tuple[str, ...] = ()  # besides those that say what is learned, for how long and where
    program: str = "train"  # of `launch_programs`, or a peer: a module of `benchmarks.peers`


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run. Experiments that ask for the same run share it."""

    configuration: str  # a key of `CONFIGURATIONS`
    level_name: str
    seed: int
    # One of them is given, the other None.
    frames: int | None  # environment frames
    minutes: float | None  # of training

    @property
    def name(self) -> str:
        """Fit for a file."""
        level = suite_name(parse_level_name(self.level_name))
        length = f"{self.frames}frames" if self.frames else f"{self.minutes:g}minutes"
        return f"{self.configuration}-{level}-{length}-seed{self.seed}"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Configurations on the same tasks, for the same number of frames or minutes.

    Raises:
      ValueError: it has no runs, or not one length.
    """

    title: str
    configurations: tuple[str, ...]  # keys of `CONFIGURATIONS`
    level_names: tuple[str, ...]  # a run for each: a task, or several at once
    seeds: int  # 1, 2, ...
    frames: int | None = None  # environment frames of a run
    minutes: float | None = None  # or minutes of training
    # Minutes of a peer's run, for which the same number of frames would take too long.
    peer_minutes: float | None = None
    moments: tuple[float, ...] = ()  # minutes besides the end at which scores are compared

    def __post_init__(self) -> None:
        if (self.frames is None) == (self.minutes is None):
            raise ValueError(f"{self.title}: give either frames or minutes")
        if (self.frames or self.minutes or 0) <= 0:
            raise ValueError(f"{self.title}: frames or minutes must be more than 0")
        if self.seeds < 1 or not self.configurations or not self.level_names:
            raise ValueError(f"{self.title}: needs a configuration, a level name and a seed")
        unknown = set(self.configurations) - set(CONFIGURATIONS)
        if unknown:
            raise ValueError(f"{self.title}: no configuration is called {sorted(unknown)[0]!r}")

    def runs(self) -> list[Run]:
        """All runs: the first seed of everything, then the second, and so on."""
        return [
            Run(configuration, level_name, seed, *self._length(configuration))
            for seed in range(1, self.seeds + 1)
            for level_name in self.level_names
            for configuration in self.configurations
        ]

    def _length(self, configuration: str) -> tuple[int | None, float | None]:
        """Frames and minutes of a configuration's runs."""
        if self.peer_minutes and CONFIGURATIONS[configuration].program != "train":
            return None, self.peer_minutes
        return self.frames, self.minutes


CONFIGURATIONS: Mapping[str, Configuration] = {
    "default": Configuration(),
    "clipped": Configuration(("--nopopart", "--reward_clipping=abs_one")),
    "unnormalised": Configuration(("--nopopart",)),
    # On MinAtar's five games as many parameters as the others: 134,560, where `default` has 134,152
    # and `told` 134,792.
    "attentive": Configuration(("--network=attentive", "--hidden_size=125")),
    "told": Configuration(("--task_input",)),
    "sb3_ppo": Configuration(program="sb3_ppo"),
    "sample_factory": Configuration(program="sample_factory"),
}

EXPERIMENTS: Mapping[str, Experiment] = {
    "breakout": Experiment(
        "Breakout alone", ("default",), ("breakout",), 3, frames=12_000_000, moments=(30,)
    ),
    "pong": Experiment("Pong alone", ("default",), ("pong",), 3, frames=12_000_000, moments=(30,)),
    # Ten minutes or a little more on 2 cores.
    "minatar": Experiment(
        "MinAtar's five games at once", ("default",), ("minatar",), 5, frames=4_000_000
    ),
    "minatar_alone": Experiment(
        "MinAtar's games alone, each with a fifth of the frames",
        ("default",),
        SUITES["minatar"],
        5,
        frames=800_000,
    ),
    "atari3": Experiment(
        "Three games at once", ("default",), ("atari3",), 3, frames=18_000_000, moments=(60,)
    ),
    "peers": Experiment(
        "Single games, with other agents",
        ("default", "sb3_ppo", "sample_factory"),
        ("breakout", "pong", "seaquest", "riverraid"),
        3,
        frames=12_000_000,
        peer_minutes=30,
        moments=(30,),
    ),
    "popart_minatar": Experiment(
        "PopArt on MinAtar, each game's rewards multiplied by a factor of its own",
        ("default", "clipped", "unnormalised"),
        ("minatar_scales",),
        5,
        frames=4_000_000,
    ),
    "popart_doom8": Experiment(
        "PopArt on eight ViZDoom scenarios",
        ("default", "clipped", "unnormalised"),
        ("doom8",),
        3,
        frames=12_000_000,
    ),
    "attention_minatar": Experiment(
        "Attention on MinAtar", ("attentive", "told", "default"), ("minatar",), 5, frames=4_000_000
    ),
    "popart_atari3": Experiment(
        "PopArt on three games",
        ("default", "clipped", "unnormalised"),
        ("atari3",),
        3,
        frames=6_000_000,
    ),
}


def all_runs(experiments: Sequence[Experiment]) -> list[Run]:
    """The runs of experiments in their order, each once."""
    return list(dict.fromkeys(run for experiment in experiments for run in experiment.runs()))
