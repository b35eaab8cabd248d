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
    """How Atari games are played. The preprocessing itself is fixed (see `environments.atari`)."""

    # "full": all 18 joystick positions, the same for every game. "minimal": only those with an
    # effect in the game, which several games can share only where their sets are the same.
    action_set: str = "full"
    # Sticky actions: the probability, in every frame, that the emulator repeats the previous action
    # instead of taking the new one. Machado et al. (2018) recommend 0.25; the IMPALA papers have
    # none.
    repeat_action_probability: float = 0.0
    # A game starts with a random number of no-op frames, uniform from 0 to this.
    noop_max: int = 30
    # In frames, no-ops not counted: 108,000 are 30 minutes of play. A game that reaches it is
    # truncated.
    max_frames_per_episode: int = 108_000
    # The loss of a life ends the learning episode (discount 0), while the game goes on.
    life_loss: bool = False

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
