"""Options and observations of the Atari environments, readable without the emulator."""

import dataclasses

import numpy as np

from environments.types import StackedFrames

# What a game shows: the last four frames, grey.
FEATURES = StackedFrames((4, 84, 84), np.uint8, 0, 255, "frames")

ACTION_SETS = ("full", "minimal")
MAX_NOOPS = 1_000


@dataclasses.dataclass(frozen=True)
class AtariOptions:
    """How Atari games are played. The preprocessing itself is fixed (see `environments.atari`).

    The fields' metadata is that of `agents.popart_impala.setting`.
    """

    # "full" is the same for every game; minimal sets several games can share only where theirs are
    # the same.
    action_set: str = dataclasses.field(
        default="full",
        metadata={
            "help": "Atari actions: full (all 18) or minimal (only those the game uses); "
            "by default minimal for a game alone, except with "
            "--network=progressive, which may get others later.",
            "choices": ACTION_SETS,
            "derived": True,
        },
    )
    # In every frame. Machado et al. (2018) recommend 0.25; the IMPALA papers have none.
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
    # No-ops are not counted. A game that reaches it is truncated.
    max_frames_per_episode: int = dataclasses.field(
        default=108_000,
        metadata={
            "help": "Atari: frames after which an episode is cut off (108,000: 30 min).",
        },
    )
    # For the learner the discount is 0 there, while the game continues.
    life_loss: bool = dataclasses.field(
        default=False,
        metadata={
            "help": "Atari: the loss of a life ends a training episode for the learner; "
            "with --nolife_loss only the game's end does.",
        },
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
