"""Strided convolutions in a form that is cheap to train on a CPU.

A kernel whose size is a multiple of its stride s sees whole blocks of s x s pixels. With a block's
pixels as channels ("space to depth"), a kernel of size / s without stride computes the same sums.
XLA is slow at the gradients of strided convolutions on a CPU (docs/performance.md).

Parameters have the names, shapes and initial values of `hk.Conv2D` with padding "VALID".
"""

import functools
from collections.abc import Callable

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from agents.popart_impala.networks.observations import Observations


def pixel_blocks(x: jax.Array, kernel: int, stride: int) -> jax.Array:
    """Blocks of s x s pixels, as far as a kernel reaches: [B, H, W, C] -> [B, H/s, W/s, s, s, C].

    Args:
      x: any dtype.
      kernel: a multiple of the stride.
      stride: s.
    """
    s = stride
    height, width = (_seen(size, kernel, stride) for size in x.shape[1:3])
    b, _, _, c = x.shape
    blocks = x[:, :height, :width].reshape(b, height // s, s, width // s, s, c)
    return blocks.transpose(0, 1, 3, 2, 4, 5)


def image_blocks(x: jax.Array, kernel: int, stride: int) -> jax.Array:
    """`pixel_blocks` for images with channels before rows and columns: [B, C, H, W]."""
    s = stride
    height, width = (_seen(size, kernel, stride) for size in x.shape[2:])
    b, c, _, _ = x.shape
    blocks = x[:, :, :height, :width].reshape(b, c, height // s, s, width // s, s)
    return blocks.transpose(0, 2, 4, 3, 5, 1)


def convolve_blocks(blocks: jax.Array, w: jax.Array) -> jax.Array:
    """Applies a strided convolution, without padding, to the image that the blocks are from.

    Args:
      blocks: float32 [B, H/s, W/s, row s, column s, C].
      w: float32 [n, n, C, D], the kernel; n is a multiple of s.

    Returns:
      float32 [B, (H-n)/s + 1, (W-n)/s + 1, D].
    """
    s, c = blocks.shape[-2:]
    n, d = w.shape[0], w.shape[-1]
    kernel = w.reshape(n // s, s, n // s, s, c, d).transpose(0, 2, 1, 3, 4, 5)
    return jax.lax.conv_general_dilated(
        blocks.reshape(*blocks.shape[:3], s * s * c),
        kernel.reshape(n // s, n // s, s * s * c, d),
        window_strides=(1, 1),
        padding="VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def convolve_observations(
    x: jax.Array | Observations, w: jax.Array, stride: int, blocks: Callable[..., jax.Array]
) -> jax.Array:
    """Applies a strided convolution, without padding, to observations, normalised or scaled first.

    Args:
      x: images [N, C, H, W] or boards [N, H, W, C] (`networks.images`).
      w: float32 [n, n, C, D], the kernel; n is a multiple of the stride.
      stride: s.
      blocks: `image_blocks` or `pixel_blocks`.

    Returns:
      float32 [N, (H-n)/s + 1, (W-n)/s + 1, D].
    """
    if not isinstance(x, Observations):
        x = Observations(x)
    # Moved as bytes, then converted. XLA computes this twice, once in the axis order that the
    # convolution wants and once in that of its gradient, which is worth it.
    return convolve_blocks(x.pixels(functools.partial(blocks, kernel=w.shape[0], stride=stride)), w)


def _seen(size: int, kernel: int, stride: int) -> int:
    """Rows or columns, out of `size`, that a kernel position reaches."""
    return (size - kernel) // stride * stride + kernel


class _StridedConv2D(hk.Module):
    """A convolution's parameters, the same as those of `hk.Conv2D`."""

    def __init__(self, channels: int, kernel: int, stride: int, name: str = "conv2_d"):
        """Makes the layer.

        Args:
          channels: of the output.
          kernel: k, height and width of the kernel; a multiple of `stride`.
          stride: s, in both directions.
          name: of the module.

        Raises:
          ValueError: the kernel is not a multiple of the stride.
        """
        super().__init__(name=name)
        if kernel % stride:
            raise ValueError(f"kernel={kernel}: must be a multiple of stride={stride}")
        self._channels = channels
        self._kernel = kernel
        self._stride = stride

    def _weights(self, c: int) -> jax.Array:
        """The kernel for c channels, float32 [k, k, c, channels]."""
        k = self._kernel
        w_init = hk.initializers.TruncatedNormal(1.0 / np.sqrt(k * k * c))
        return hk.get_parameter("w", (k, k, c, self._channels), init=w_init)

    def _biased(self, y: jax.Array) -> jax.Array:
        b = hk.get_parameter("b", (self._channels,), init=jnp.zeros)
        return y + jnp.broadcast_to(b, y.shape)


class StridedConv2D(_StridedConv2D):
    """Maps float32 [B, H, W, C] to float32 [B, (H-k)//s + 1, (W-k)//s + 1, channels]."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """The convolution; see the class."""
        blocks = pixel_blocks(x, self._kernel, self._stride)
        return self._biased(convolve_blocks(blocks, self._weights(x.shape[-1])))


class ImageConv2D(_StridedConv2D):
    """The same as a first layer, for images [B, C, H, W], bytes or numbers; see `Observations`."""

    def __call__(self, x: jax.Array | Observations) -> jax.Array:
        """The convolution; see the class."""
        w = self._weights(x.shape[1])
        return self._biased(convolve_observations(x, w, self._stride, image_blocks))


class BoardConv2D(_StridedConv2D):
    """The same as a first layer, for boards [B, H, W, C], bool or numbers; see `Observations`."""

    def __call__(self, x: jax.Array | Observations) -> jax.Array:
        """The convolution; see the class."""
        w = self._weights(x.shape[3])
        return self._biased(convolve_observations(x, w, self._stride, pixel_blocks))
