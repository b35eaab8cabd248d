"""The agent's settings.

Defaults are what learns on a small machine (docs/results.md). They come from IMPALA's for Atari
(arXiv 1802.01561) and PopArt's multi-task paper (arXiv 1809.04474); the README lists what differs.
"""

import dataclasses
import math

REWARD_CLIPPINGS = ("none", "abs_one", "soft_asymmetric")
LOSS_REDUCTIONS = ("sum", "mean")
OPTIMISERS = ("adam", "rmsprop")

# Parts of a batch where the user does not say how many.
MOST_MINIBATCHES = 4


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the PopArt-IMPALA agent; checked when made.

    Raises:
      ValueError: a field is out of range; the message names the field, its value and what is
        accepted.
    """

    # Network.
    network: str = "shallow"  # a name of networks.NETWORKS
    use_lstm: bool = False  # LSTM of 256 units between torso and heads
    # Units of the linear layers in front of LSTM or heads; the programs' default is the network's
    # own (networks.registry.Entry): 128 of minatar, 256 of all others.
    hidden_size: int = 256
    # shallow, deep, minatar, mlp: such a layer is given the one-hot task as well.
    task_input: bool = False
    # Attentive networks.
    subnets: int | None = None  # K sub-networks, None for floor((tasks + 2) / 4) + 1
    use_gap: bool = False  # weights from global average pools instead of whole feature maps
    use_separate_attn_net: bool = False  # weights from a network of their own
    # Progressive network: how many tasks each frozen column has, oldest first. The rest of the
    # tasks are the newest column's, which learns.
    frozen_columns: tuple[int, ...] = ()

    # Data.
    unroll_length: int = 20  # T, agent steps
    batch_size: int = 32  # B, unrolls in one update
    # Unrolls that the queue holds, None for a quarter of a batch; while it is full, actors wait.
    queue_size: int | None = None
    action_repeat: int = 4  # environment frames in one agent step

    # Loss.
    discounting: float = 0.99  # of future rewards, for each agent step
    baseline_cost: float = 0.5  # weight of the value loss
    entropy_cost: float = 0.01  # weight of the entropy bonus
    reward_clipping: str = "none"  # how the learner transforms rewards, see losses.transform_reward
    loss_reduction: str = "mean"  # over the steps of a minibatch; the papers sum
    vtrace_lambda: float = 0.95  # how far V-trace's targets look ahead, in [0, 1]; the papers: 1
    standardise_advantages: bool = True  # per task; otherwise they are divided by PopArt's sigma
    # A step of the policy gradient counts while pi / mu is within 1 +- this (PPO); None: no bound.
    ratio_clip: float | None = 0.2

    # Use of a batch: `passes` times over it, each time in `minibatches` random parts of it.
    passes: int = 2
    minibatches: int | None = None  # None for as many as go, at most `MOST_MINIBATCHES`

    # PopArt; with popart=False the statistics stay at mean 0, scale 1: plain IMPALA.
    popart: bool = True
    popart_step_size: float = 3e-4  # of the moving averages; a task's first steps are larger
    popart_scale_min: float = 1e-4  # lower bound of sigma
    popart_scale_max: float = 1e6  # upper bound of sigma

    # Optimiser, with a learning rate that falls linearly to 0.
    optimiser: str = "adam"
    learning_rate: float = 1e-3  # at the start
    total_environment_frames: int = 200_000_000  # where the learning rate reaches 0
    rmsprop_decay: float = 0.99  # of the mean square
    rmsprop_epsilon: float = 0.01  # inside the square root
    gradient_clipping: float = 0.5  # global norm

    def __post_init__(self) -> None:
        for name in (
            "hidden_size",
            "unroll_length",
            "batch_size",
            "action_repeat",
            "total_environment_frames",
            "passes",
        ):
            self._require(name, _is_count(getattr(self, name)), "a whole number of at least 1")
        self._require(
            "subnets",
            self.subnets is None or _is_count(self.subnets),
            "a whole number of at least 1, or left out",
        )
        self._require(
            "frozen_columns",
            isinstance(self.frozen_columns, tuple) and all(map(_is_count, self.frozen_columns)),
            "a tuple of whole numbers of at least 1",
        )
        self._require(
            "queue_size",
            self.queue_size is None or _is_count(self.queue_size),
            "a whole number of at least 1, or left out",
        )
        self._require(
            "minibatches",
            self.minibatches is None
            or (_is_count(self.minibatches) and self.batch_size % self.minibatches == 0),
            f"a whole number that divides batch_size={self.batch_size}, or left out",
        )
        self._require(
            "ratio_clip",
            self.ratio_clip is None or 0 < self.ratio_clip < math.inf,
            "finite and more than 0, or left out",
        )
        for name in ("baseline_cost", "entropy_cost"):
            self._require(name, 0 <= getattr(self, name) < math.inf, "finite and at least 0")
        for name in (
            "learning_rate",
            "rmsprop_epsilon",
            "gradient_clipping",
            "popart_scale_min",
            "popart_scale_max",
        ):
            self._require(name, 0 < getattr(self, name) < math.inf, "finite and more than 0")
        for name in ("discounting", "vtrace_lambda"):
            self._require(name, 0 <= getattr(self, name) <= 1, "in [0, 1]")
        self._require("rmsprop_decay", 0 <= self.rmsprop_decay < 1, "in [0, 1)")
        self._require("popart_step_size", 0 < self.popart_step_size <= 1, "in (0, 1]")
        self._require(
            "popart_scale_max",
            self.popart_scale_max >= self.popart_scale_min,
            f"at least popart_scale_min={self.popart_scale_min}",
        )
        self._require(
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
            self._require(name, getattr(self, name) in accepted, "one of " + ", ".join(accepted))

    def _require(self, field: str, accepted: bool, what: str) -> None:
        # `accepted` is false for NaN as well, since every comparison with NaN is.
        if not accepted:
            raise ValueError(f"{field}={getattr(self, field)!r}: must be {what}")

    @property
    def queue_capacity(self) -> int:
        """Unrolls that the queue holds before actors wait."""
        # A batch is being learned from and another is ready: more would be policy lag.
        return self.queue_size or max(1, self.batch_size // 4)

    def num_minibatches(self, num_devices: int) -> int:
        """Parts that a batch is learned from one after another, each split over the devices.

        Raises:
          ValueError: the devices do not divide a part evenly.
        """
        if self.minibatches is None:
            for parts in range(MOST_MINIBATCHES, 0, -1):
                if self.batch_size % (parts * num_devices) == 0:
                    return parts
        parts = self.minibatches or 1
        self._require(
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


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
