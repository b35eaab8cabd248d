"""Applies functions of single steps to sequences."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from agents.popart_impala.networks.observations import Observations


def apply_to_steps(function: Callable[..., Any], *arguments: Any) -> Any:
    """Applies a function of [B, ...] arrays to [T, B, ...] arrays, all steps at once.

    The two axes are merged with the batch first. If the batch is split over devices, each device
    then has a block of the merged axis; with time first, XLA would have to gather all observations
    on every device.

    Args:
      function: from trees of arrays [N, ...] to a tree of arrays [N, ...].
      arguments: trees of arrays [T, B, ...] and of `Observations` [T, B, ...].

    Returns:
      The function's output, as [T, B, ...].
    """
    length, batch_size = jax.tree.leaves(arguments)[0].shape[:2]

    def merge(x: Any) -> Any:
        if isinstance(x, Observations):  # a leaf, like every type that JAX does not know
            return x.merged(merge)
        return jnp.swapaxes(x, 0, 1).reshape(batch_size * length, *x.shape[2:])

    def split(x: jax.Array) -> jax.Array:
        return jnp.swapaxes(x.reshape(batch_size, length, *x.shape[1:]), 0, 1)

    return jax.tree.map(split, function(*jax.tree.map(merge, arguments)))
