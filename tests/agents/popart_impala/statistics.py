"""PopArt statistics for tests."""

from typing import Any

import jax.numpy as jnp

from agents.popart_impala.popart import PopArtState


def settled(mean: Any, variance: Any, reward_square: Any = None) -> PopArtState:
    """Statistics [num_tasks] after enough updates for their steps to have the configured size.

    The mean square of rewards defaults to the variance; all advantages so far were 0.
    """
    mean = jnp.asarray(mean, jnp.float32)
    variance = jnp.asarray(variance, jnp.float32)
    square = variance if reward_square is None else jnp.asarray(reward_square, jnp.float32)
    zero = jnp.zeros_like(mean)
    updates = jnp.full(mean.shape, 10**9, jnp.int32)
    return PopArtState(mean, variance, square, zero, zero, updates)
