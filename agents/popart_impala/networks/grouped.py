"""K convolutions, each on its own channels, for K sub-networks."""

import jax
import jax.numpy as jnp


def grouped_convolution(x: jax.Array, w: jax.Array) -> jax.Array:
    """Convolution k maps the channels of group k; stride 1, no padding.

    They are computed one by one. With one grouped convolution, XLA's gradient is five to nine times
    as slow on CPUs (docs/performance.md), and XLA gathers the whole batch on every device instead
    of splitting it.

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
