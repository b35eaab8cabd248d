"""The state that updates change and checkpoints hold, the optimiser and its learning rate."""

from typing import NamedTuple

import optax

from agents.popart_impala import popart
from agents.popart_impala.config import Config
from agents.popart_impala.types import Params

ADAM_EPSILON = 1e-5  # outside the square root


class TrainingState(NamedTuple):
    """Everything that an update changes and a checkpoint holds.

    The two counts are Python integers: frame counts over many games exceed int32.
    """

    params: Params
    opt_state: optax.OptState
    popart: popart.PopArtState
    steps: int  # batches learned from
    frames: int  # environment frames consumed: agent steps x action repeat


def make_optimiser(config: Config) -> optax.GradientTransformation:
    """Chains global-norm clipping and the optimiser; the update applies the learning rate."""
    if config.optimiser == "adam":
        scale = optax.scale_by_adam(eps=ADAM_EPSILON)
    else:
        # The mean square starts at 1, as in TensorFlow's RMSProp, which the papers' programs use.
        scale = optax.scale_by_rms(
            decay=config.rmsprop_decay, eps=config.rmsprop_epsilon, initial_scale=1.0
        )
    return optax.chain(optax.clip_by_global_norm(config.gradient_clipping), scale)


def learning_rate(config: Config, frames: int) -> float:
    """Returns the learning rate after `frames` environment frames.

    It falls linearly from `config.learning_rate` to 0 at `config.total_environment_frames`. It also
    warms up over the first `config.warmup_updates`: Adam's first steps are full-sized whatever the
    size of the gradient, and PopArt's sigma mistakes their effect on the values for the values'
    scale (docs/experiments.md).
    """
    rate = config.learning_rate * max(0.0, 1.0 - frames / config.total_environment_frames)
    if config.warmup_updates:
        rate *= min(1.0, (frames / config.frames_per_update + 1) / config.warmup_updates)
    return rate
