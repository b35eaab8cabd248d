"""Environment options and the spec of Atari's features, importable without the emulator."""

import dataclasses

import numpy as np

from environments.procgen_games import DISTRIBUTION_MODES, LEVELS
from environments.types import StackedFrames

# An Atari observation: the last four frames, in grey.
FEATURES = StackedFrames((4, 84, 84), np.uint8, 0, 255, "frames")

ACTION_SETS = ("full", "minimal")
MAX_NOOPS = 1_000


@dataclasses.dataclass(frozen=True)
class AtariOptions:
    """How Atari games are played, and which Procgen levels.

    Atari's preprocessing itself is fixed (see `environments.atari`).

    The fields' metadata is as in `agents.popart_impala.setting`.
    """

    # "full" is the same for every game; several games can share a minimal set only if theirs are
    # the same.
    action_set: str = dataclasses.field(
        default="full",
        metadata={
            "help": "Atari actions: full (all 18) or minimal (only those the game uses); "
            "by default minimal when one game is trained alone, except with "
            "--network=progressive, to which other games may be added later.",
            "choices": ACTION_SETS,
            "derived": True,
        },
    )
    # Per frame. Machado et al. (2018) recommend 0.25; the IMPALA papers use none.
    repeat_action_probability: float = dataclasses.field(
        default=0.0,
        metadata={
            "help": "Atari sticky actions: probability of repeating the last action.",
        },
    )
    noop_max: int = dataclasses.field(
        default=30,
        metadata={
            "help": "Atari: a game starts with a random number of no-op frames, 0 to this.",
        },
    )
    # No-ops are not counted. A game that reaches the limit is truncated.
    max_frames_per_episode: int = dataclasses.field(
        default=108_000,
        metadata={
            "help": "Atari: frames after which an episode is cut off (108,000: 30 min).",
        },
    )
    # The learner sees discount 0 when a life is lost, while the game continues.
    life_loss: bool = dataclasses.field(
        default=False,
        metadata={
            "help": "Atari: the loss of a life ends a training episode for the learner; "
            "with --nolife_loss only the game's end does.",
        },
    )

    # The names are Procgen's own. Its paper trains on 200 easy levels or on 500 hard ones.
    distribution_mode: str = dataclasses.field(
        default="easy",
        metadata={
            "help": "Procgen: which levels are made, easy or hard.",
            "choices": DISTRIBUTION_MODES,
        },
    )
    num_levels: int = dataclasses.field(
        default=200,
        metadata={
            "help": "Procgen: levels to train on, 0 for all; `evaluate` plays the others too.",
        },
    )
    start_level: int = dataclasses.field(
        default=0,
        metadata={"help": "Procgen: the first level to train on."},
    )

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
          ValueError: naming the field, its value and the accepted range.
        """
        if self.action_set not in ACTION_SETS:
            raise ValueError(f"action_set is {self.action_set!r}; it must be one of {ACTION_SETS}")
        if not 0 <= self.repeat_action_probability < 1:
            raise ValueError(
                f"repeat_action_probability is {self.repeat_action_probability}; "
                "it must be in [0, 1)"
            )
        if not 0 <= self.noop_max <= MAX_NOOPS:
            raise ValueError(f"noop_max is {self.noop_max}; it must be in [0, {MAX_NOOPS}]")
        if self.max_frames_per_episode < 1:
            raise ValueError(
                f"max_frames_per_episode is {self.max_frames_per_episode}; it must be at least 1"
            )
        if self.distribution_mode not in DISTRIBUTION_MODES:
            raise ValueError(
                f"distribution_mode is {self.distribution_mode!r}; it must be one of "
                f"{DISTRIBUTION_MODES}"
            )
        if not 0 <= self.num_levels <= LEVELS:
            raise ValueError(f"num_levels is {self.num_levels}; it must be in [0, {LEVELS}]")
        if not 0 <= self.start_level <= LEVELS - self.num_levels:
            raise ValueError(
                f"start_level is {self.start_level}; it must be in [0, {LEVELS - self.num_levels}] "
                f"with num_levels={self.num_levels}"
            )
