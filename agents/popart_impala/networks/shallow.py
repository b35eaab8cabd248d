"""IMPALA's shallow network (arXiv 1802.01561, figure 3 left) in its Atari form."""

import haiku as hk
import jax
import numpy as np

from agents.popart_impala.networks.convolution import ImageConv2D, StridedConv2D


class ShallowTorso(hk.Module):
    """Convolutions 16 of 8x8 stride 4 and 32 of 4x4 stride 2, then a linear layer of 256; ReLU."""

    def __init__(self) -> None:
        super().__init__(name="shallow")

    def __call__(self, features: jax.Array, task: jax.Array) -> jax.Array:
        """Maps uint8 images [B, S, H, W] to float32 [B, 256]. The task is not used.

        Raises:
          ValueError: features are not stacks of images of at least 36 x 36.
        """
        del task  # PopArt-IMPALA's policy is not told which game it plays.
        shape = features.shape[1:]
        if len(shape) != 3 or min(shape[1:]) < 36 or features.dtype != np.uint8:
            raise ValueError(
                f"network='shallow': needs stacked images [S, H, W] of at least 36 x 36, uint8; "
                f"the observations are {list(shape)}, {features.dtype}; use network='mlp'"
            )
        x = jax.nn.relu(ImageConv2D(16, kernel=8, stride=4)(features))
        x = jax.nn.relu(StridedConv2D(32, kernel=4, stride=2)(x))
        return jax.nn.relu(hk.Linear(256)(hk.Flatten()(x)))
