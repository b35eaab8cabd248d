"""Sub-networks with an attention-augmented convolution (Bello et al. 2019, arXiv 1904.09925)."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from agents.popart_impala.network_config import NetworkConfig
from agents.popart_impala.networks.attentive import AttentiveTorso
from agents.popart_impala.networks.images import check_images
from agents.popart_impala.networks.observations import Observations
from agents.popart_impala.networks.subnetworks import SharedInputConv2D, SubnetConv2D

_CHANNELS = 32  # of the attention-augmented convolution
_VALUE_DEPTH = 24  # of those, the ones that come from attention: dv
_KEY_DEPTH = 24  # dk
_HEADS = 4

# Images whose attention weights are in memory at a time, in the forward and the backward pass: a
# head has one weight per pair of the 20 x 20 positions, so an image's four have 640,000 floats.
_CHUNK = 16


def relative_logits(q: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """How well each query matches its distance to every position (Bello et al., equation 3).

    Args:
      q: float32 [..., H, W, d], queries.
      rows: float32 [2H-1, d]; entry H-1 + (i' - i) is for a key i' - i rows below the query.
      columns: float32 [2W-1, d], likewise to the right.

    Returns:
      float32 [..., H, W, H, W]: at [i, j, i', j'] q_ij . (rows[i'-i] + columns[j'-j]).
    """
    height, width = q.shape[-3:-1]

    def distance(n: int) -> np.ndarray:
        return np.arange(n)[None, :] - np.arange(n)[:, None] + n - 1  # [query, key]

    by_row = jnp.einsum("...ijd,iud->...iju", q, rows[distance(height)])
    by_column = jnp.einsum("...ijd,jvd->...ijv", q, columns[distance(width)])
    shape = (*q.shape[:-1], height, width)
    return jnp.broadcast_to(by_row[..., None], shape) + jnp.broadcast_to(
        by_column[..., None, :], shape
    )


def attention(
    q: jax.Array, k: jax.Array, v: jax.Array, rows: jax.Array, columns: jax.Array
) -> jax.Array:
    """Self-attention over the positions of one image with relative positions, for every head.

    Args:
      q: float32 [heads, H, W, d], queries.
      k: float32 [heads, H, W, d], keys.
      v: float32 [heads, H, W, e], values.
      rows: float32 [2H-1, d], as in `relative_logits`; the same for all heads.
      columns: float32 [2W-1, d], likewise.

    Returns:
      float32 [heads, H, W, e]: softmax((q k + relative logits) / sqrt(d)) v.
    """
    heads, height, width, d = q.shape
    q = q / np.sqrt(d)
    positions = height * width
    logits = jnp.einsum("hpd,hqd->hpq", q.reshape(heads, -1, d), k.reshape(heads, -1, d))
    logits += relative_logits(q, rows, columns).reshape(heads, positions, positions)
    out = jnp.einsum("hpq,hqe->hpe", jax.nn.softmax(logits), v.reshape(heads, positions, -1))
    return out.reshape(heads, height, width, -1)


class AugmentedConv2D(hk.Module):
    """Each sub-network's 2x2 convolution, concatenated with attention over all positions.

    Of the 32 channels, 8 come from the convolution and 24 from four heads, mixed by a 1x1
    convolution.
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, K, C] to [B, H, W, K, 32]."""
        b, height, width, subnets, _ = x.shape
        padded = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0), (0, 0)))
        local = SubnetConv2D(_CHANNELS - _VALUE_DEPTH, kernel=2, name="conv")(padded)
        qkv = SubnetConv2D(2 * _KEY_DEPTH + _VALUE_DEPTH, kernel=1, name="query_key_value")(x)
        depth = _KEY_DEPTH // _HEADS
        init = hk.initializers.RandomNormal(depth**-0.5)
        rows = hk.get_parameter("rows", (subnets, 2 * height - 1, depth), init=init)
        columns = hk.get_parameter("columns", (subnets, 2 * width - 1, depth), init=init)

        def attend(qkv_and_subnet: tuple[jax.Array, jax.Array]) -> jax.Array:
            qkv, subnet = qkv_and_subnet  # of one image in one sub-network
            parts = jnp.split(qkv, [_KEY_DEPTH, 2 * _KEY_DEPTH], axis=-1)
            q, k, v = (
                part.reshape(height, width, _HEADS, -1).transpose(2, 0, 1, 3) for part in parts
            )
            out = attention(q, k, v, rows[subnet], columns[subnet])
            return out.transpose(1, 2, 0, 3).reshape(height, width, _VALUE_DEPTH)

        images = qkv.transpose(0, 3, 1, 2, 4).reshape(b * subnets, height, width, -1)
        subnet_of = jnp.tile(jnp.arange(subnets), b)
        # Attention weights are recomputed in the backward pass: a whole batch's are gigabytes.
        attend_again = jax.checkpoint(attend)  # type: ignore[attr-defined]
        heads = jax.lax.map(attend_again, (images, subnet_of), batch_size=_CHUNK)
        heads = heads.reshape(b, subnets, height, width, _VALUE_DEPTH).transpose(0, 2, 3, 1, 4)
        mixed = SubnetConv2D(_VALUE_DEPTH, kernel=1, name="projection")(heads)
        return jnp.concatenate([local, mixed], axis=-1)


class SelfAttentionSubnetworks(hk.Module):
    """K times: 8x8 convolution (16, stride 4), attention-augmented convolution, 2x2 mean pool."""

    def __init__(self, subnets: int):
        super().__init__(name="subnetworks")
        self._subnets = subnets

    def __call__(self, features: Observations) -> jax.Array:
        """Maps uint8 images [B, S, H, W] to feature maps; [B, 10, 10, K, 32] for 84 x 84.

        Raises:
          ValueError: features are not stacks of images of at least 12 x 12.
        """
        check_images("self_attention", features, at_least=12)
        x = jax.nn.relu(SharedInputConv2D(self._subnets, 16, kernel=8, stride=4)(features))
        x = jax.nn.relu(AugmentedConv2D(name="augmented_conv")(x))
        b, height, width, k, c = x.shape
        height, width = height // 2, width // 2  # an odd last row or column is dropped
        x = x[:, : 2 * height, : 2 * width].reshape(b, height, 2, width, 2, k, c)
        return jnp.mean(x, axis=(2, 4))


def self_attention_torso(config: NetworkConfig, num_tasks: int) -> AttentiveTorso:
    """The attentive torso with these sub-networks."""
    return AttentiveTorso(config, num_tasks, SelfAttentionSubnetworks)
