"""First weights of the layers in front of ReLUs."""

from collections.abc import Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

_ORTHOGONAL = jax.nn.initializers.orthogonal(np.sqrt(2.0))


def before_relu(shape: Sequence[int], dtype: Any) -> jax.Array:
    """Orthogonal weights whose ReLU's outputs are as large as the inputs.

    Saxe et al. 2014, arXiv 1312.6120; by the root of 2 larger, since a ReLU halves the mean square
    (He et al. 2015, arXiv 1502.01852).

    Args:
      shape: [..., D], the outputs last.
      dtype: of the weights.
    """
    return _ORTHOGONAL(hk.next_rng_key(), shape, dtype)


def of_images(shape: Sequence[int], dtype: Any) -> jax.Array:
    """The same for a first convolution of images, with kernels whose weights sum to 0.

    An even surface then gives 0, whatever its brightness. A game's screen is a still background
    with a few small things that move. With other kernels the background makes most of the
    embedding: on Pong its part that never changes is 35 times as long as that which tells one state
    from another, and the policy drifts towards single actions before it sees the ball. With these
    the factor is 8 (docs/results.md).

    Args:
      shape: [n, n, C, D] of a kernel.
      dtype: of the weights.
    """
    w = before_relu(shape, dtype)
    return w - jnp.mean(w, axis=(0, 1, 2), keepdims=True)
