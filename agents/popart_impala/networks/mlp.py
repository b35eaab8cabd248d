"""A perceptron for observations that are not images."""

import haiku as hk
import jax

from agents.popart_impala.network_config import NetworkConfig
from agents.popart_impala.networks.hidden import Hidden
from agents.popart_impala.networks.observations import Observations
from agents.popart_impala.networks.types import TorsoOutput


class MLPTorso(hk.Module):
    """Two linear layers of `hidden_size` with ReLU on the flattened features."""

    def __init__(self, config: NetworkConfig, num_tasks: int):
        super().__init__(name="mlp")
        self._layers = [Hidden(config, num_tasks, name=f"linear_{i}") for i in range(2)]

    def __call__(self, features: Observations, task: jax.Array) -> TorsoOutput:
        """Maps features [B, ...] of any shape to an embedding float32 [B, hidden_size]."""
        x = features.numbers()
        for layer in self._layers:
            x = layer(x, task)
        return TorsoOutput(x)
