"""A module of single steps, applied to sequences."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from agents.popart_impala.networks.observations import Observations


def apply_to_steps(function: Callable[..., Any], *arguments: Any) -> Any:
    """Applies a function of [B, ...] arrays to [T, B, ...] arrays, all steps at once.

    The two axes are merged with the batch in front. Of an array whose batch is split over devices,
    each device then has a block of the merged axis; with time in front XLA would have to gather
    all observations on every device.

    Args:
      function: from trees of arrays [N, ...] to a tree of arrays [N, ...].
      arguments: trees of arrays [T, B, ...], and of `Observations` of sequences.

    Returns:
      What the function returns, as [T, B, ...].
    """

    def is_observations(x: Any) -> bool:
        return isinstance(x, Observations)

    leaves = jax.tree.leaves(arguments, is_leaf=is_observations)
    length, batch_size = next(x.shape[:2] for x in leaves if not is_observations(x))

    def merge(x: Any) -> Any:
        if is_observations(x):
            return x.merged(merge)
        return jnp.swapaxes(x, 0, 1).reshape(batch_size * length, *x.shape[2:])

    def split(x: jax.Array) -> jax.Array:
        return jnp.swapaxes(x.reshape(batch_size, length, *x.shape[1:]), 0, 1)

    merged = [jax.tree.map(merge, argument, is_leaf=is_observations) for argument in arguments]
    return jax.tree.map(split, function(*merged))
