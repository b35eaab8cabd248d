"""K convolutions at once, each on its own channels: what K sub-networks need.

XLA's own gradient of a grouped convolution is slow on CPUs, by the kernel above all: it takes five
to nine times as long as this one (docs/performance.md).
"""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def grouped_convolution(x: jax.Array, w: jax.Array) -> jax.Array:
    """Convolution k maps the channels of group k; stride 1, no padding.

    Args:
      x: float32 [B, H, W, K, C].
      w: float32 [K, n, n, C, D], kernels.

    Returns:
      float32 [B, H-n+1, W-n+1, K, D].
    """
    k, n, _, c, d = w.shape
    kernel = w.transpose(1, 2, 3, 0, 4).reshape(n, n, c, k * d)
    return _convolve(x, kernel, padding=0)


def _convolve(x: jax.Array, kernel: jax.Array, padding: int) -> jax.Array:
    b, height, width, k, c = x.shape
    y = jax.lax.conv_general_dilated(
        x.reshape(b, height, width, k * c),
        kernel,
        window_strides=(1, 1),
        padding=((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=k,
    )
    return y.reshape(*y.shape[:3], k, -1)


def _forward(x: jax.Array, w: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return grouped_convolution(x, w), (x, w)


def _backward(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, w = saved
    k, n, _, c, d = w.shape
    flipped = w[:, ::-1, ::-1].transpose(1, 2, 4, 0, 3).reshape(n, n, d, k * c)
    x_gradient = _convolve(g, flipped, padding=n - 1)
    # Every tap of the kernel sees the input shifted: one product of matrices for each group.
    b, height, width = g.shape[:3]
    group_major_x = x.transpose(3, 0, 1, 2, 4)
    group_major_g = g.transpose(3, 0, 1, 2, 4).reshape(k, b * height * width, d)
    taps = [
        jnp.einsum(
            "kni,kno->kio",
            group_major_x[:, :, i : i + height, j : j + width].reshape(k, -1, c),
            group_major_g,
        )
        for i in range(n)
        for j in range(n)
    ]
    return x_gradient, jnp.stack(taps, axis=1).reshape(w.shape)


grouped_convolution.defvjp(_forward, _backward)
