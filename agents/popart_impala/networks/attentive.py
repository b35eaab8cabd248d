"""Attentive multi-task network: sub-networks mixed by attention (arXiv 1907.02874).

Each of K sub-networks computes feature maps of the observation. A softmax over K weights, computed
from the features and the one-hot task, mixes them into one, which feeds the last linear layer. The
weights show which sub-network serves which task.
"""

from collections.abc import Callable

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from agents.popart_impala.network_config import NetworkConfig
from agents.popart_impala.networks.hidden import Hidden
from agents.popart_impala.networks.images import are_boards, are_images, one_of
from agents.popart_impala.networks.observations import Observations
from agents.popart_impala.networks.subnetworks import (
    BoardSubnetworks,
    ConvSubnetworks,
    LinearSubnetworks,
)
from agents.popart_impala.networks.types import TorsoOutput


def default_subnets(num_tasks: int) -> int:
    """K = floor((tasks + 2) / 4) + 1, the paper's choice."""
    return (num_tasks + 2) // 4 + 1


class AttentiveTorso(hk.Module):
    """Sub-networks, their mixture, a linear layer of `hidden_size` with ReLU.

    With `config.use_separate_attn_net`, the features of one more sub-network determine all K
    weights; otherwise each sub-network's own features determine its weight.
    """

    def __init__(
        self,
        config: NetworkConfig,
        num_tasks: int,
        make_subnetworks: Callable[[int], Callable[[Observations], jax.Array]] | None = None,
    ):
        """Makes the torso.

        Args:
          config: the network's settings.
          num_tasks: length of the one-hot task.
          make_subnetworks: number of sub-networks -> features [B, ...] -> [B, H, W, number, C]; by
            default convolutions for images and boards, linear layers for the rest.
        """
        super().__init__(name="attentive")
        self._config = config
        self._num_tasks = num_tasks
        self._subnets = config.subnets or default_subnets(num_tasks)
        self._make_subnetworks = make_subnetworks
        self._hidden = Hidden(config, num_tasks)

    def __call__(self, features: Observations, task: jax.Array) -> TorsoOutput:
        """Maps features [B, ...], task int32 [B] to embedding [B, hidden_size], weights [B, K]."""
        separate = self._config.use_separate_attn_net
        maps = self._subnetworks(features)(features)  # [B, H, W, K (+ 1), C]
        mixed_maps = maps[..., : self._subnets, :]
        logits = self._logits(maps[..., -1:, :] if separate else maps)
        weights = jax.nn.softmax(logits + self._task_logits(task), axis=-1)
        mixed = jnp.sum(mixed_maps * weights[:, None, None, :, None], axis=3)
        return TorsoOutput(self._hidden(mixed, task), weights)

    def _subnetworks(self, features: Observations) -> Callable[[Observations], jax.Array]:
        number = self._subnets + self._config.use_separate_attn_net
        if self._make_subnetworks is not None:
            return self._make_subnetworks(number)
        if are_images(one_of(features)):
            return ConvSubnetworks(number)
        if are_boards(one_of(features)):
            return BoardSubnetworks(number)
        return LinearSubnetworks(number, self._config.hidden_size)

    def _logits(self, maps: jax.Array) -> jax.Array:
        """The features' part of the logits [B, K], from maps [B, H, W, K, C] or [B, H, W, 1, C]."""
        if self._config.use_gap:
            maps = jnp.mean(maps, axis=(1, 2), keepdims=True)
        _, height, width, sources, c = maps.shape
        w_init = self._w_init(height * width * c)
        w = hk.get_parameter("features_w", (height, width, self._subnets, c), init=w_init)
        if sources == 1:
            flat = maps.reshape(maps.shape[0], -1)
            return flat @ w.transpose(0, 1, 3, 2).reshape(-1, self._subnets)
        # A sum of products, not `einsum`: XLA turns a batch axis in the middle into slow loops.
        return jnp.sum(maps * jnp.broadcast_to(w, maps.shape), axis=(1, 2, 4))

    def _task_logits(self, task: jax.Array) -> jax.Array:
        """The one-hot task's part of the logits, with their bias: [B, K]."""
        shape = (self._num_tasks, self._subnets)
        w = hk.get_parameter("task_w", shape, init=self._w_init(self._num_tasks))
        b = hk.get_parameter("b", shape[1:], init=jnp.zeros)
        logits = jax.nn.one_hot(task, self._num_tasks) @ w
        return logits + jnp.broadcast_to(b, logits.shape)

    def _w_init(self, fan_in: int) -> hk.initializers.Initializer:
        return hk.initializers.TruncatedNormal(1.0 / np.sqrt(fan_in))
