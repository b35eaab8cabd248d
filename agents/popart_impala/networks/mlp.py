"""A perceptron for observations that are not images."""

import haiku as hk
import jax
import jax.numpy as jnp


class MLPTorso(hk.Module):
    """Two linear layers of 256 with ReLU on the flattened features."""

    def __init__(self) -> None:
        super().__init__(name="mlp")

    def __call__(self, features: jax.Array, task: jax.Array) -> jax.Array:
        """Maps features [B, ...] of any shape to float32 [B, 256]. The task is not used."""
        del task
        flat = hk.Flatten()(features.astype(jnp.float32))
        return hk.nets.MLP([256, 256], activate_final=True, name="layers")(flat)
