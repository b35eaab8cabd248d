"""Logits -> actions."""

import jax
import jax.numpy as jnp


def choose_actions(
    key: jax.Array, logits: jax.Array, *, greedy: bool
) -> tuple[jax.Array, jax.Array]:
    """Samples from the logits, or takes the likeliest actions if `greedy`.

    Args:
      key: random key.
      logits: float32 [B, num_actions].
      greedy: takes the likeliest actions instead of sampling.

    Returns:
      Actions, int32 [B], and the key for the next ones.
    """
    key, sample_key = jax.random.split(key)
    if greedy:
        actions = jnp.argmax(logits, axis=-1)
    else:
        actions = jax.random.categorical(sample_key, logits)
    return actions.astype(jnp.int32), key
