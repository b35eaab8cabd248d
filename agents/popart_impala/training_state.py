"""What the updates change: the state that checkpoints hold, the optimiser and its learning rate."""

from typing import NamedTuple

import optax

from agents.popart_impala import popart
from agents.popart_impala.config import Config
from agents.popart_impala.types import Params

ADAM_EPSILON = 1e-5  # outside the square root


class TrainingState(NamedTuple):
    """Everything that an update changes; what a checkpoint holds.

    The two counts are Python integers: frames of many games pass the range of int32.
    """

    params: Params
    opt_state: optax.OptState
    popart: popart.PopArtState
    steps: int  # batches learned from
    frames: int  # environment frames consumed: agent steps x action repeat


def make_optimiser(config: Config) -> optax.GradientTransformation:
    """Global-norm clipping and the optimiser; the learning rate is applied by the update."""
    if config.optimiser == "adam":
        scale = optax.scale_by_adam(eps=ADAM_EPSILON)
    else:
        # The mean square starts at 1 as in the TensorFlow RMSProp of the papers' programs.
        scale = optax.scale_by_rms(
            decay=config.rmsprop_decay, eps=config.rmsprop_epsilon, initial_scale=1.0
        )
    return optax.chain(optax.clip_by_global_norm(config.gradient_clipping), scale)


def learning_rate(config: Config, frames: int) -> float:
    """The rate after so many frames.

    It falls linearly from `config.learning_rate` to 0 at `config.total_environment_frames`. In the
    first `config.warmup_updates` it rises as well: Adam's first steps have their full size whatever
    the gradient's, and what they do to values, PopArt's sigma takes for their scale
    (docs/experiments.md).
    """
    rate = config.learning_rate * max(0.0, 1.0 - frames / config.total_environment_frames)
    if config.warmup_updates:
        rate *= min(1.0, (frames / config.frames_per_update + 1) / config.warmup_updates)
    return rate
