"""K sub-networks at once equal K sub-networks one by one; attention mixes them."""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.popart_impala.config import Config
from agents.popart_impala.networks.attentive import AttentiveTorso, default_subnets
from agents.popart_impala.networks.grouped import grouped_convolution
from agents.popart_impala.networks.observations import Observations
from agents.popart_impala.networks.subnetworks import (
    BoardSubnetworks,
    ConvSubnetworks,
    LinearSubnetworks,
)

RNG = np.random.default_rng(0)
K, NUM_TASKS, B = 3, 5, 4


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def one_by_one(x: jax.Array, w: jax.Array) -> jax.Array:
    """Convolves each group with XLA's convolution, which also provides the gradient."""
    groups = [
        jax.lax.conv_general_dilated(
            x[..., k, :], w[k], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        for k in range(w.shape[0])
    ]
    return jnp.stack(groups, axis=3)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_grouped_convolution_and_its_gradients(n: int) -> None:
    x, w = normal(2, 6, 5, K, 4), normal(K, n, n, 4, 7)
    g = normal(2, 7 - n, 6 - n, K, 7)
    expected, expected_vjp = jax.vjp(one_by_one, x, w)
    actual, vjp = jax.vjp(grouped_convolution, x, w)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(vjp(g), expected_vjp(g), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)


def test_convolutional_subnetworks_are_shallow_networks() -> None:
    images = RNG.integers(0, 256, (B, 4, 40, 44), np.uint8)
    transformed: Any = hk.without_apply_rng(
        hk.transform(lambda x: ConvSubnetworks(K)(Observations(x)))
    )
    params = transformed.init(jax.random.PRNGKey(0), images)
    maps = transformed.apply(params, images)
    assert maps.shape == (B, 3, 4, K, 32)
    first, second = params["subnetworks/conv_0"], params["subnetworks/conv_1"]
    x = jnp.asarray(images.transpose(0, 2, 3, 1) / np.float32(255))
    for k in range(K):
        y = x
        for layer, stride in ((first, 4), (second, 2)):
            # Haiku's convolution, with one sub-network's parameters.
            conv: Any = hk.without_apply_rng(
                hk.transform(
                    lambda v, layer=layer, stride=stride: hk.Conv2D(
                        layer["w"].shape[-1], layer["w"].shape[1], stride, padding="VALID"
                    )(v)
                )
            )
            y = jax.nn.relu(conv.apply({"conv2_d": {n: p[k] for n, p in layer.items()}}, y))
        np.testing.assert_allclose(maps[..., k, :], y, rtol=1e-4, atol=1e-5)
    # Each starts with its own values.
    assert all((first["w"][k] != first["w"][0]).all() for k in range(1, K))


def test_subnetworks_of_boards() -> None:
    boards = RNG.random((B, 5, 6, 4)) < 0.5
    transformed: Any = hk.without_apply_rng(
        hk.transform(lambda x: BoardSubnetworks(K)(Observations(x)))
    )
    params = transformed.init(jax.random.PRNGKey(0), boards)
    maps = transformed.apply(params, boards)
    assert maps.shape == (B, 3, 4, K, 16)
    layer = params["subnetworks/conv_0"]
    x = jnp.broadcast_to(boards.astype(np.float32)[..., None, :], (B, 5, 6, K, 4))
    expected = np.maximum(np.asarray(one_by_one(x, layer["w"])) + np.asarray(layer["b"]), 0)
    np.testing.assert_allclose(maps, expected, rtol=1e-5, atol=1e-5)


def test_linear_subnetworks() -> None:
    features = normal(B, 2, 3)
    transformed: Any = hk.without_apply_rng(
        hk.transform(lambda x: LinearSubnetworks(K, 8)(Observations(x)))
    )
    params = jax.device_get(transformed.init(jax.random.PRNGKey(0), features))
    maps = transformed.apply(params, features)
    assert maps.shape == (B, 1, 1, K, 8)
    layer = params["subnetworks"]
    for k in range(K):
        expected = np.maximum(features.reshape(B, 6) @ layer["w"][k] + layer["b"][k], 0)
        np.testing.assert_allclose(maps[:, 0, 0, k], expected, rtol=1e-5, atol=1e-5)


def test_number_of_subnetworks() -> None:
    # floor((tasks + 2) / 4) + 1
    assert [default_subnets(tasks) for tasks in (1, 2, 3, 5, 6, 57)] == [1, 2, 2, 2, 3, 15]


OPTIONS: list[dict[str, Any]] = [
    {"use_gap": use_gap, "use_separate_attn_net": separate}
    for use_gap in (False, True)
    for separate in (False, True)
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_attention_mixes_the_subnetworks(options: dict[str, Any]) -> None:
    """Weights and mixture against NumPy, given the sub-networks' feature maps."""
    config = Config(network="attentive", subnets=K, hidden_size=6, **options)
    maps = normal(B, 2, 3, K + options["use_separate_attn_net"], 4)

    def subnetworks(number: int) -> Callable[[Observations], jax.Array]:
        assert number == maps.shape[3]
        return lambda features: jnp.asarray(maps)

    transformed: Any = hk.without_apply_rng(
        hk.transform(
            lambda x, t: AttentiveTorso(config, NUM_TASKS, subnetworks)(Observations(x), t)
        )
    )
    features, task = normal(B, 2), np.array([0, 3, 3, 4], np.int32)
    shapes = jax.eval_shape(transformed.init, jax.random.PRNGKey(0), features, task)
    params = jax.tree.map(lambda x: normal(*x.shape), shapes)
    output = transformed.apply(params, features, task)
    own = params["attentive"]
    seen = maps.mean((1, 2), keepdims=True) if options["use_gap"] else maps
    logits = np.zeros((B, K))
    for k in range(K):
        source = K if options["use_separate_attn_net"] else k
        logits[:, k] = np.einsum("bhwc,hwc->b", seen[..., source, :], own["features_w"][:, :, k])
        logits[:, k] += own["task_w"][task, k] + own["b"][k]
    weights = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(output.attention, weights, rtol=1e-4, atol=1e-5)
    mixed = sum(weights[:, k, None, None, None] * maps[..., k, :] for k in range(K))
    layer = params["attentive/~/linear/linear"]
    expected = np.maximum(mixed.reshape(B, -1) @ layer["w"] + layer["b"], 0)
    np.testing.assert_allclose(output.embedding, expected, rtol=1e-4, atol=1e-4)
