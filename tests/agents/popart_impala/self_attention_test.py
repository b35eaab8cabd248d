"""Attention with relative positions, against loops over every pair of positions."""

from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from agents.popart_impala.networks.self_attention import (
    AugmentedConv2D,
    SelfAttentionSubnetworks,
    attention,
    relative_logits,
)

RNG = np.random.default_rng(0)
HEADS, H, W, D, E = 2, 3, 4, 5, 6


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def test_relative_logits_against_a_double_loop() -> None:
    q, rows, columns = normal(HEADS, H, W, D), normal(2 * H - 1, D), normal(2 * W - 1, D)
    expected = np.zeros((HEADS, H, W, H, W))
    for i, j in np.ndindex(H, W):
        for i_key, j_key in np.ndindex(H, W):
            position = rows[i_key - i + H - 1] + columns[j_key - j + W - 1]
            expected[:, i, j, i_key, j_key] = q[:, i, j] @ position
    actual = relative_logits(jnp.asarray(q), jnp.asarray(rows), jnp.asarray(columns))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_attention_against_loops() -> None:
    q, k, v = normal(HEADS, H, W, D), normal(HEADS, H, W, D), normal(HEADS, H, W, E)
    rows, columns = normal(2 * H - 1, D), normal(2 * W - 1, D)
    expected = np.zeros((HEADS, H, W, E))
    for h in range(HEADS):
        for i, j in np.ndindex(H, W):
            weights = np.zeros((H, W))
            for i_key, j_key in np.ndindex(H, W):
                key = k[h, i_key, j_key] + rows[i_key - i + H - 1] + columns[j_key - j + W - 1]
                weights[i_key, j_key] = np.exp(q[h, i, j] @ key / np.sqrt(D))
            expected[h, i, j] = np.einsum("ij,ije->e", weights / weights.sum(), v[h])
    actual = attention(*map(jnp.asarray, (q, k, v, rows, columns)))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_the_augmented_convolution_from_its_parts() -> None:
    b, subnets = 3, 2
    x = normal(b, H, W, subnets, 16)
    transformed: Any = hk.without_apply_rng(hk.transform(lambda x: AugmentedConv2D()(x)))
    params = jax.tree.map(
        lambda p: jnp.asarray(normal(*p.shape)),
        jax.eval_shape(transformed.init, jax.random.PRNGKey(0), x),
    )
    actual = jax.jit(transformed.apply)(params, x)
    assert actual.shape == (b, H, W, subnets, 32)
    layers = {name.split("/")[-1]: p for name, p in jax.device_get(params).items()}
    relative = layers["augmented_conv2_d"]
    padded = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0), (0, 0)))
    for n, s in np.ndindex(b, subnets):
        local = np.zeros((H, W, 8))
        for i, j in np.ndindex(H, W):
            patch = padded[n, i : i + 2, j : j + 2, s]
            local[i, j] = np.einsum("ijc,ijcd->d", patch, layers["conv"]["w"][s])
        local += layers["conv"]["b"][s]
        qkv = x[n, :, :, s] @ layers["query_key_value"]["w"][s, 0, 0]
        qkv += layers["query_key_value"]["b"][s]
        # Queries, keys and values of 24 are four heads of 6.
        q, k, v = (part.reshape(H, W, 4, 6).transpose(2, 0, 1, 3) for part in np.split(qkv, 3, -1))
        heads = attention(*map(jnp.asarray, (q, k, v, relative["rows"][s], relative["columns"][s])))
        joined = np.asarray(heads).transpose(1, 2, 0, 3).reshape(H, W, 24)
        mixed = joined @ layers["projection"]["w"][s, 0, 0] + layers["projection"]["b"][s]
        expected = np.concatenate([local, mixed], axis=-1)
        np.testing.assert_allclose(actual[n, :, :, s], expected, rtol=1e-3, atol=1e-3)


def test_feature_maps_are_pooled() -> None:
    images = RNG.integers(0, 256, (2, 4, 32, 40), np.uint8)
    transformed: Any = hk.without_apply_rng(hk.transform(lambda x: SelfAttentionSubnetworks(3)(x)))
    params = jax.eval_shape(transformed.init, jax.random.PRNGKey(0), images)
    # 32 x 40 -> 7 x 9 by the first convolution; the odd last row and column are left out.
    assert jax.eval_shape(transformed.apply, params, images).shape == (2, 3, 4, 3, 32)
