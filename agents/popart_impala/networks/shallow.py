"""IMPALA's shallow network (arXiv 1802.01561, figure 3 left) in its Atari form."""

import haiku as hk
import jax
import jax.numpy as jnp


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
        if len(shape) != 3 or min(shape[1:]) < 36:
            raise ValueError(
                f"network='shallow': needs stacked images [S, H, W] of at least 36 x 36, the "
                f"observations are {list(shape)}; use network='mlp'"
            )
        x = jnp.moveaxis(features, 1, -1).astype(jnp.float32) / 255.0
        x = jax.nn.relu(hk.Conv2D(16, 8, stride=4, padding="VALID")(x))
        x = jax.nn.relu(hk.Conv2D(32, 4, stride=2, padding="VALID")(x))
        return jax.nn.relu(hk.Linear(256)(hk.Flatten()(x)))
