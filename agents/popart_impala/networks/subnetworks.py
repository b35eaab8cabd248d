"""K sub-networks computed as one: the same layers, each with its own parameters.

Each module maps a batch of observations to feature maps float32 [B, H, W, K, C]. The first axis of
the parameters is the sub-network.
"""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from agents.popart_impala.networks.convolution import (
    convolve_observations,
    image_blocks,
    pixel_blocks,
)
from agents.popart_impala.networks.grouped import grouped_convolution
from agents.popart_impala.networks.images import are_images, check_boards, check_images, one_of
from agents.popart_impala.networks.observations import Observations


def biased(x: jax.Array) -> jax.Array:
    """`x` [B, H, W, K, C] with a bias for each sub-network and channel added."""
    return x + jnp.broadcast_to(hk.get_parameter("b", x.shape[-2:], init=jnp.zeros), x.shape)


class SharedInputConv2D(hk.Module):
    """The first convolution of K sub-networks, as one with K times the channels.

    It takes images or boards (`networks.images`).
    """

    def __init__(self, subnets: int, channels: int, kernel: int, stride: int):
        """Makes the layer; `kernel` is a multiple of `stride`."""
        super().__init__(name="conv_0")
        self._subnets = subnets
        self._channels = channels
        self._kernel = kernel
        self._stride = stride

    def __call__(self, features: Observations) -> jax.Array:
        """Maps uint8 [B, S, H, W] or bool [B, H, W, C] to [B, H', W', K, channels], unpadded."""
        n, s, k, d = self._kernel, self._stride, self._subnets, self._channels
        images = are_images(one_of(features))
        c = features.shape[1 if images else 3]
        w_init = hk.initializers.TruncatedNormal(1.0 / np.sqrt(n * n * c))
        w = hk.get_parameter("w", (k, n, n, c, d), init=w_init)
        w = w.transpose(1, 2, 3, 0, 4).reshape(n, n, c, k * d)
        y = convolve_observations(features, w, s, image_blocks if images else pixel_blocks)
        return biased(y.reshape(*y.shape[:3], k, d))


class SubnetConv2D(hk.Module):
    """A further convolution of each sub-network, without padding."""

    def __init__(self, channels: int, kernel: int, stride: int = 1, name: str = "conv"):
        """Makes the layer; `kernel` is a multiple of `stride`."""
        super().__init__(name=name)
        self._channels = channels
        self._kernel = kernel
        self._stride = stride

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, K, C] to [B, H', W', K, channels]."""
        n, s, d = self._kernel, self._stride, self._channels
        b, _, _, k, c = x.shape
        w_init = hk.initializers.TruncatedNormal(1.0 / np.sqrt(n * n * c))
        w = hk.get_parameter("w", (k, n, n, c, d), init=w_init)
        m = n // s
        if s > 1:
            blocks = pixel_blocks(x.reshape(*x.shape[:3], k * c), n, s)
            h, v = blocks.shape[1:3]
            blocks = blocks.reshape(b, h, v, s, s, k, c).transpose(0, 1, 2, 5, 3, 4, 6)
            x = blocks.reshape(b, h, v, k, s * s * c)
            w = w.reshape(k, m, s, m, s, c, d).transpose(0, 1, 3, 2, 4, 5, 6)
            w = w.reshape(k, m, m, s * s * c, d)
        return biased(grouped_convolution(x, w))


class ConvSubnetworks(hk.Module):
    """K times the convolutions of the shallow network: 16 of 8x8 stride 4, 32 of 4x4 stride 2."""

    def __init__(self, subnets: int):
        super().__init__(name="subnetworks")
        self._subnets = subnets

    def __call__(self, features: Observations) -> jax.Array:
        """Maps uint8 images [B, S, H, W] to feature maps; [B, 9, 9, K, 32] for 84 x 84.

        Raises:
          ValueError: the images are smaller than 36 x 36.
        """
        check_images("attentive", features, at_least=36)
        x = jax.nn.relu(SharedInputConv2D(self._subnets, 16, kernel=8, stride=4)(features))
        return jax.nn.relu(SubnetConv2D(32, kernel=4, stride=2, name="conv_1")(x))


class BoardSubnetworks(hk.Module):
    """K times the convolution of the `minatar` network: 16 of 3x3."""

    def __init__(self, subnets: int):
        super().__init__(name="subnetworks")
        self._subnets = subnets

    def __call__(self, features: Observations) -> jax.Array:
        """Maps boards, bool [B, H, W, C], to feature maps [B, H-2, W-2, K, 16].

        Raises:
          ValueError: the boards are smaller than 3 x 3.
        """
        check_boards("attentive", features, at_least=3)
        return jax.nn.relu(SharedInputConv2D(self._subnets, 16, kernel=3, stride=1)(features))


class LinearSubnetworks(hk.Module):
    """K linear layers with ReLU, for observations that are neither images nor boards."""

    def __init__(self, subnets: int, hidden_size: int):
        """Makes the sub-networks with `hidden_size` units each."""
        super().__init__(name="subnetworks")
        self._subnets = subnets
        self._hidden_size = hidden_size

    def __call__(self, features: Observations) -> jax.Array:
        """Maps features [B, ...] of any shape to [B, 1, 1, K, hidden_size]."""
        x = hk.Flatten()(features.numbers())
        k, d = self._subnets, self._hidden_size
        w_init = hk.initializers.TruncatedNormal(1.0 / np.sqrt(x.shape[1]))
        w = hk.get_parameter("w", (k, x.shape[1], d), init=w_init)
        y = x @ w.transpose(1, 0, 2).reshape(x.shape[1], k * d)
        return jax.nn.relu(biased(y.reshape(-1, 1, 1, k, d)))
