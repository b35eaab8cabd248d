"""Strided convolutions in a form that is cheap to learn on a CPU.

A kernel that is a multiple of its stride s sees whole blocks of s x s pixels. With the pixels of a
block as channels ("space to depth"), a kernel of size / s without stride makes the same sums. The
gradients of a strided convolution are what XLA is slow at on a CPU (docs/performance.md).

Parameters are those of `hk.Conv2D` with padding "VALID": names, shapes and initial values.
"""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from agents.popart_impala.frame_stacks import FrameSequences
from agents.popart_impala.networks.images import are_images, num_channels, one_of
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
    """The same of images with their channels before rows and columns: [B, C, H, W]."""
    s = stride
    height, width = (_seen(size, kernel, stride) for size in x.shape[2:])
    b, c, _, _ = x.shape
    blocks = x[:, :, :height, :width].reshape(b, c, height // s, s, width // s, s)
    return blocks.transpose(0, 2, 4, 3, 5, 1)


def convolve_blocks(blocks: jax.Array, w: jax.Array) -> jax.Array:
    """The strided convolution, without padding, of the image that the blocks are made of.

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


def convolve_frames(x: FrameSequences, w: jax.Array, stride: int) -> jax.Array:
    """The strided convolution, without padding, of stacks of images that share their frames.

    A frame is part of up to S stacks. Here it is turned into numbers once, and convolved at once
    with the S kernels for its S places; a stack's output is the sum of its frames' parts. These are
    the sums of `convolve_blocks` on the stacks, at about half the cost on a CPU
    (docs/performance.md): S times less is moved, and the products have S times the columns.

    Args:
      x: stacks of images, uint8, whose pixels are scaled to [0, 1].
      w: float32 [n, n, S, D], the kernel; n is a multiple of the stride.
      stride: s.

    Returns:
      float32 [B (T+1), (H-n)/s + 1, (W-n)/s + 1, D].
    """
    batch_size, num_steps, size = x.shown.shape
    n, s, d = w.shape[0], stride, w.shape[-1]
    frames = x.frames.reshape(-1, 1, *x.frames.shape[2:])
    blocks = image_blocks(frames, n, s).astype(jnp.float32) / 255.0
    # A kernel for each place: [n, n, 1, S D].
    parts = convolve_blocks(blocks, w.reshape(n, n, 1, size * d))
    parts = parts.reshape(batch_size, -1, *parts.shape[1:3], size, d)
    shown = x.shown[..., None, None, None]
    y = jnp.zeros(())
    for k in range(size):
        y += jnp.where(shown[:, :, k], parts[:, k : k + num_steps, :, :, k], 0.0)
    return y.reshape(-1, *y.shape[2:])


def convolve_observations(x: Observations, w: jax.Array, stride: int) -> jax.Array:
    """The strided convolution, without padding, of images or boards without their task's mean.

    What the kernel makes of the mean is subtracted from what it makes of the features: the same by
    linearity, and there are fewer means than observations.

    Args:
      x: images, uint8 [N, C, H, W], whose pixels are scaled to [0, 1], or boards, bool
        [N, H, W, C] (`networks.images`).
      w: float32 [n, n, C, D], the kernel; n is a multiple of the stride.
      stride: s.

    Returns:
      float32 [N, (H-n)/s + 1, (W-n)/s + 1, D].
    """
    if isinstance(x.features, FrameSequences):
        y = convolve_frames(x.features, w, stride)
    elif are_images(one_of(x)):
        y = _convolve_images(x.features, w, stride)
    else:
        y = _convolve_boards(x.features, w, stride)
    if x.mean is None:
        return y
    if are_images(one_of(x)):
        mean = jnp.broadcast_to(x.mean, (len(x.mean), *x.shape[1:]))
        background = _convolve_images(mean, w, stride)
    else:
        background = _convolve_boards(x.mean, w, stride)
    # A product, since XLA is slow at the gradient of indexing.
    own = jax.nn.one_hot(x.task, len(background)) @ background.reshape(len(background), -1)
    return y - own.reshape(y.shape)


def _convolve_images(x: jax.Array, w: jax.Array, stride: int) -> jax.Array:
    # Moved as bytes, then converted. It is worth computing twice, in the order of axes that the
    # convolution wants and in the one that its gradient wants, and XLA does so.
    blocks = image_blocks(x, w.shape[0], stride)
    return convolve_blocks(blocks.astype(jnp.float32) / 255.0, w)


def _convolve_boards(x: jax.Array, w: jax.Array, stride: int) -> jax.Array:
    return convolve_blocks(pixel_blocks(x.astype(jnp.float32), w.shape[0], stride), w)


def _seen(size: int, kernel: int, stride: int) -> int:
    """Rows or columns, out of `size`, that a kernel position reaches."""
    return (size - kernel) // stride * stride + kernel


class _StridedConv2D(hk.Module):
    """The parameters of a convolution, which are `hk.Conv2D`'s."""

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


class FirstConv2D(_StridedConv2D):
    """The same as a first layer, on `Observations`; see `convolve_observations`."""

    def __call__(self, x: Observations) -> jax.Array:
        """The convolution; see the class."""
        w = self._weights(num_channels(x))
        return self._biased(convolve_observations(x, w, self._stride))
