"""A custom network: a Haiku module, its name in the registry, and Catch to try it on.

python -m examples.own_network [UPDATES]
"""

import sys

import haiku as hk
import jax
import jax.numpy as jnp

from agents.popart_impala import Config, NetworkConfig
from agents.popart_impala.networks import NETWORKS, TorsoOutput
from agents.popart_impala.networks.registry import Entry
from agents.popart_impala.networks.single import with_torso
from environments import Catch, WithTask
from examples.single_process import train


class ResidualTorso(hk.Module):
    """Residual blocks of layer normalisation and two linear layers, on the flattened features."""

    def __init__(self, config: NetworkConfig, num_tasks: int):
        """Makes the torso; an LSTM, the heads and their inputs are added around it.

        Args:
          config: the network's settings.
          num_tasks: the run's number of tasks, for torsos that are told the task.
        """
        super().__init__(name="residual")
        self._size = config.hidden_size

    def __call__(self, features: jax.Array, task: jax.Array) -> TorsoOutput:
        """Maps features [B, ...] and task int32 [B] to an embedding float32 [B, hidden_size]."""
        x = hk.Linear(self._size)(hk.Flatten()(features.astype(jnp.float32)))
        for _ in range(2):
            y = hk.LayerNorm(axis=-1, create_scale=True, create_offset=True)(x)
            y = hk.Linear(self._size)(jax.nn.relu(hk.Linear(self._size)(y)))
            x = x + y
        return TorsoOutput(jax.nn.relu(x))


# From here on, `Config(network="residual")` is this network, in this process. To use it in the
# programs, add this line to agents/popart_impala/networks/registry.py.
NETWORKS["residual"] = Entry(with_torso(ResidualTorso))


if __name__ == "__main__":
    train(
        WithTask(Catch(seed=0), task=0, num_tasks=1),
        Config(
            network="residual",
            hidden_size=64,
            unroll_length=9,
            batch_size=8,
            learning_rate=2e-3,
            action_repeat=1,
        ),
        updates=int(sys.argv[1]) if len(sys.argv) > 1 else 600,
    )
