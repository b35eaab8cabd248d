"""K convolutions, each on channels of its own: what K sub-networks need."""

import jax
import jax.numpy as jnp


def grouped_convolution(x: jax.Array, w: jax.Array) -> jax.Array:
    """Convolution k maps the channels of group k; stride 1, no padding.

    They are computed one by one. As one grouped convolution, XLA's gradient is five to nine times
    as slow on CPUs (docs/performance.md), and XLA does not split the batch over devices: it gathers
    all of it on each.

    Args:
      x: float32 [B, H, W, K, C].
      w: float32 [K, n, n, C, D], kernels.

    Returns:
      float32 [B, H-n+1, W-n+1, K, D].
    """
    return jnp.stack(
        [
            jax.lax.conv_general_dilated(
                x[:, :, :, k],
                w[k],
                window_strides=(1, 1),
                padding="VALID",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
            for k in range(w.shape[0])
        ],
        axis=3,
    )
