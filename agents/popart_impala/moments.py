"""Moving averages of moments, used for both value targets and observations."""

import jax


def mixed_moments(
    mean: jax.Array,
    variance: jax.Array,
    batch_mean: jax.Array,
    batch_variance: jax.Array,
    step_size: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Returns mean and variance after a step b towards a batch's; all arrays have the same rank.

    They are the moments of the mixture of both distributions with weights 1-b and b.
    """
    shift = batch_mean - mean
    return (
        mean + step_size * shift,
        variance + step_size * (batch_variance - variance + (1 - step_size) * shift**2),
    )
