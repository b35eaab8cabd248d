"""The linear layer that ends a torso."""

import haiku as hk
import jax
import jax.numpy as jnp

from agents.popart_impala.network_config import NetworkConfig


class Hidden(hk.Module):
    """Linear layer of `config.hidden_size` with ReLU; also takes the one-hot task if configured."""

    def __init__(self, config: NetworkConfig, num_tasks: int, name: str = "linear"):
        super().__init__(name=name)
        self._config = config
        self._num_tasks = num_tasks

    def __call__(self, x: jax.Array, task: jax.Array) -> jax.Array:
        """Maps float32 [B, ...], flattened, and task int32 [B] to float32 [B, hidden_size]."""
        x = hk.Flatten()(x)
        if self._config.task_input:
            x = jnp.concatenate([x, jax.nn.one_hot(task, self._num_tasks)], axis=1)
        return jax.nn.relu(hk.Linear(self._config.hidden_size)(x))
