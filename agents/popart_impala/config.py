"""The agent's settings.

The defaults are settings that learn on a small machine (docs/results.md). They derive from those of
IMPALA for Atari (arXiv 1802.01561) and of PopArt's multi-task paper (arXiv 1809.04474);
docs/guides/deviations.md lists the differences.
"""

import dataclasses
import math

from agents.popart_impala.network_config import NetworkConfig, is_count
from agents.popart_impala.setting import setting

REWARD_CLIPPINGS = ("none", "abs_one", "soft_asymmetric")
LOSS_REDUCTIONS = ("sum", "mean")
OPTIMISERS = ("adam", "rmsprop")

# Upper limit on the number of minibatches if the user sets none.
MOST_MINIBATCHES = 4


@dataclasses.dataclass(frozen=True)
class Config(NetworkConfig):
    """Settings of the PopArt-IMPALA agent, including its network's; validated on construction.

    Raises:
      ValueError: a field is out of range; the message names the field, its value and the
        accepted values.
    """

    # Data.
    unroll_length: int = setting(20, "Agent steps in one unroll.")
    batch_size: int = setting(32, "Unrolls in one learner update.")
    queue_size: int | None = setting(
        None,
        "Unrolls that the queue holds before actors wait; by default a quarter of a batch, "
        "since a whole one is being learned from and another is ready.",
    )
    action_repeat: int = 4  # environment frames per agent step; determined by the tasks

    # Loss.
    discounting: float = setting(0.99, "Discount of future rewards, in [0, 1].")
    baseline_cost: float = setting(0.5, "Weight of the value loss.")
    entropy_cost: float = setting(0.01, "Weight of the entropy bonus.")
    reward_clipping: str = setting(
        "none",
        "What the learner does to rewards: none; abs_one: clips to [-1, 1]; soft_asymmetric: "
        "0.3 min(tanh r, 0) + 5 max(tanh r, 0).",
        choices=REWARD_CLIPPINGS,
    )
    loss_reduction: str = setting(
        "mean",
        "Sum or mean of the loss over the steps of a batch; the papers sum.",
        choices=LOSS_REDUCTIONS,
    )
    vtrace_lambda: float = setting(
        0.95,
        "V-trace's lambda, in [0, 1]: how far value targets look ahead; the papers: 1, to the "
        "unroll's end.",
    )
    standardise_advantages: bool = setting(
        True,
        "Advantages of each task with about mean 0 and deviation 1; otherwise they are divided by "
        "PopArt's sigma.",
    )
    ratio_clip: float | None = setting(
        0.2,
        "PPO's bound c: a step is learned from while its probability is within 1 +- c of the "
        "one with which it was chosen. The presets have none, like IMPALA.",
    )

    # How a batch is used: in several passes, each over random minibatches.
    passes: int = setting(2, "Times that a batch is learned from; the papers: once.")
    minibatches: int | None = setting(
        None,
        "Random parts of a batch, one gradient step each; by default 4, or fewer if the batch "
        "size or the number of devices requires it.",
    )

    # PopArt; with popart=False the statistics stay at mean 0, scale 1: plain IMPALA.
    popart: bool = setting(
        True,
        "Normalises values per task by PopArt; --nopopart is plain IMPALA.",
    )
    popart_step_size: float = setting(
        3e-4,
        "Step size of PopArt's moving averages, in (0, 1]; a task's first steps are larger.",
    )
    popart_scale_min: float = setting(1e-4, "Lower bound of PopArt's sigma.")
    popart_scale_max: float = setting(1e6, "Upper bound of PopArt's sigma.")

    # Optimiser. The learning rate warms up and decays linearly to 0.
    optimiser: str = setting("adam", "Adam, or RMSProp as in the papers.", choices=OPTIMISERS)
    learning_rate: float = setting(
        1e-3, "Largest learning rate; falls linearly to 0 at --total_environment_frames."
    )
    warmup_updates: int = setting(
        50,
        "Updates (batches) over which the learning rate rises to its full value; 0 in the presets, "
        "as in the papers.",
    )
    total_environment_frames: int = setting(
        12_000_000,
        "Environment frames to train for, agent steps times action repeat; by default about an "
        "hour of one Atari game on two cores.",
    )
    rmsprop_decay: float = setting(0.99, "Decay of RMSProp's mean square.")
    rmsprop_epsilon: float = setting(0.01, "RMSProp's epsilon, inside the square root.")
    gradient_clipping: float = setting(0.5, "Global norm to which gradients are clipped.")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (
            "unroll_length",
            "batch_size",
            "action_repeat",
            "total_environment_frames",
            "passes",
        ):
            self.require(name, is_count(getattr(self, name)), "a whole number of at least 1")
        self.require(
            "queue_size",
            self.queue_size is None or is_count(self.queue_size),
            "a whole number of at least 1, or left out",
        )
        self.require(
            "minibatches",
            self.minibatches is None
            or (is_count(self.minibatches) and self.batch_size % self.minibatches == 0),
            f"a whole number that divides batch_size={self.batch_size}, or left out",
        )
        self.require(
            "warmup_updates",
            self.warmup_updates == 0 or is_count(self.warmup_updates),
            "a whole number of at least 0",
        )
        self.require(
            "ratio_clip",
            self.ratio_clip is None or 0 < self.ratio_clip < math.inf,
            "finite and more than 0, or left out",
        )
        for name in ("baseline_cost", "entropy_cost"):
            self.require(name, 0 <= getattr(self, name) < math.inf, "finite and at least 0")
        for name in (
            "learning_rate",
            "rmsprop_epsilon",
            "gradient_clipping",
            "popart_scale_min",
            "popart_scale_max",
        ):
            self.require(name, 0 < getattr(self, name) < math.inf, "finite and more than 0")
        for name in ("discounting", "vtrace_lambda"):
            self.require(name, 0 <= getattr(self, name) <= 1, "in [0, 1]")
        self.require("rmsprop_decay", 0 <= self.rmsprop_decay < 1, "in [0, 1)")
        self.require("popart_step_size", 0 < self.popart_step_size <= 1, "in (0, 1]")
        self.require(
            "popart_scale_max",
            self.popart_scale_max >= self.popart_scale_min,
            f"at least popart_scale_min={self.popart_scale_min}",
        )
        self.require(
            "popart",
            self.popart or self.popart_scale_min <= 1 <= self.popart_scale_max,
            "True unless popart_scale_min and popart_scale_max have 1, the scale of plain IMPALA, "
            "between them",
        )
        for name, accepted in (
            ("reward_clipping", REWARD_CLIPPINGS),
            ("loss_reduction", LOSS_REDUCTIONS),
            ("optimiser", OPTIMISERS),
        ):
            self.require(name, getattr(self, name) in accepted, "one of " + ", ".join(accepted))

    @property
    def queue_capacity(self) -> int:
        """Unrolls that the queue holds before actors wait."""
        # The learner is using one batch and has another ready: more would add policy lag.
        return self.queue_size or max(1, self.batch_size // 4)

    def num_minibatches(self, num_devices: int) -> int:
        """Number of minibatches per batch, each of which is split over the devices.

        Raises:
          ValueError: a minibatch cannot be split evenly over the devices.
        """
        if self.minibatches is None:
            for parts in range(MOST_MINIBATCHES, 0, -1):
                if self.batch_size % (parts * num_devices) == 0:
                    return parts
        parts = self.minibatches or 1
        self.require(
            "batch_size",
            self.batch_size % (parts * num_devices) == 0,
            f"a multiple of the {num_devices} local devices"
            + (f" times minibatches={parts}" if self.minibatches else ""),
        )
        return parts

    @property
    def frames_per_update(self) -> int:
        """Environment frames consumed by one learner step."""
        return self.batch_size * self.unroll_length * self.action_repeat
