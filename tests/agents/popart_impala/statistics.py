"""PopArt statistics for tests."""

from typing import Any

import jax.numpy as jnp

from agents.popart_impala.popart import PopArtState


def settled(mean: Any, variance: Any, deviation: Any = None) -> PopArtState:
    """Statistics [num_tasks] after so many updates that their steps have the configured size.

    The deviation is sigma unless it is given.
    """
    mean = jnp.asarray(mean, jnp.float32)
    variance = jnp.asarray(variance, jnp.float32)
    deviation = jnp.sqrt(variance) if deviation is None else jnp.asarray(deviation, jnp.float32)
    return PopArtState(mean, variance, deviation, jnp.full(mean.shape, 10**9, jnp.int32))
