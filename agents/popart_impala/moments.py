"""Moments of moving averages, of value targets and of observations alike."""

import jax


def mixed_moments(
    mean: jax.Array,
    variance: jax.Array,
    batch_mean: jax.Array,
    batch_variance: jax.Array,
    step_size: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Mean and variance after a step b towards those of a batch; all of one rank.

    They are those of the mixture of both distributions with the weights 1-b and b.
    """
    shift = batch_mean - mean
    return (
        mean + step_size * shift,
        variance + step_size * (batch_variance - variance + (1 - step_size) * shift**2),
    )
