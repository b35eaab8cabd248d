"""The strided convolutions against Haiku's plain one: parameters, values and gradients."""

from collections.abc import Callable

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.popart_impala.networks.convolution import BoardConv2D, ImageConv2D, StridedConv2D
from agents.popart_impala.networks.observations import Normaliser, Observations

# Sizes that fit the strides, and sizes where the kernel leaves out rows and columns.
SHAPES = [(84, 84), (85, 90), (40, 36)]


def pure(forward: Callable[[jax.Array], jax.Array]) -> hk.Transformed:
    return hk.without_apply_rng(hk.transform(forward))


def assert_same(ours: hk.Transformed, plain: hk.Transformed, x: np.ndarray, to_x: bool) -> None:
    """Compares up to the rounding of float32 sums, relative to the largest entry."""
    key = jax.random.PRNGKey(0)
    params = jax.jit(plain.init)(key, x)
    initial = jax.jit(ours.init)(key, x)
    jax.tree.map(np.testing.assert_array_equal, initial, params)
    params = jax.tree.map(lambda p: p + 0.1, params)  # a bias that is not 0
    weights = np.random.default_rng(1).normal(size=plain.apply(params, x).shape)

    def outputs(f: hk.Transformed) -> list[jax.Array]:
        def loss(params: hk.Params, x: jax.Array) -> jax.Array:
            return jnp.sum(f.apply(params, x) * weights.astype(np.float32))

        gradient = jax.jit(jax.grad(loss, argnums=(0, 1) if to_x else 0))(params, x)
        return [jax.jit(f.apply)(params, x), *jax.tree.leaves(gradient)]

    for actual, expected in zip(outputs(ours), outputs(plain), strict=True):
        assert actual.shape == expected.shape
        scale = float(jnp.abs(expected).max())
        assert scale > 0
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize(("kernel", "stride"), [(8, 4), (4, 2), (6, 2), (3, 1), (2, 2)])
def test_strided_convolution(size: tuple[int, int], kernel: int, stride: int) -> None:
    x = np.random.default_rng(0).normal(size=(3, *size, 5)).astype(np.float32)
    assert_same(
        pure(lambda x: StridedConv2D(7, kernel, stride)(x)),
        pure(lambda x: hk.Conv2D(7, kernel, stride=stride, padding="VALID")(x)),
        x,
        to_x=True,
    )


def test_convolution_of_boards() -> None:
    x = np.random.default_rng(0).random((3, 10, 9, 6)) < 0.3
    assert_same(
        pure(lambda x: BoardConv2D(7, kernel=3, stride=1)(x)),
        pure(lambda x: hk.Conv2D(7, 3, padding="VALID")(x.astype(jnp.float32))),
        x,
        to_x=False,
    )


@pytest.mark.parametrize("size", SHAPES)
def test_convolution_of_images(size: tuple[int, int]) -> None:
    x = np.random.default_rng(0).integers(0, 256, (3, 4, *size), np.uint8)

    def plain(x: jax.Array) -> jax.Array:
        x = jnp.moveaxis(x, 1, -1).astype(jnp.float32) / 255.0
        return hk.Conv2D(16, 8, stride=4, padding="VALID")(x)

    assert_same(pure(lambda x: ImageConv2D(16, 8, 4)(x)), pure(plain), x, to_x=False)


def random_normaliser(shape: tuple[int, ...], largest: float) -> Normaliser:
    rng = np.random.default_rng(3)
    mean = rng.random(shape, np.float32) * largest
    return Normaliser(mean, 20 * rng.random(shape, np.float32) / largest)


@pytest.mark.parametrize("channels", [1, 4])
def test_normalised_images(channels: int) -> None:
    x = np.random.default_rng(0).integers(0, 256, (5, 4, 40, 36), np.uint8)
    normaliser, task = random_normaliser((3, channels, 40, 36), 255), np.array([1, 0, 2, 1, 1])

    def plain(x: jax.Array) -> jax.Array:
        x = jnp.clip((x - normaliser.mean[task]) * normaliser.scale[task], -5, 5)
        return hk.Conv2D(16, 8, stride=4, padding="VALID")(jnp.moveaxis(x, 1, -1))

    def ours(x: jax.Array) -> jax.Array:
        return ImageConv2D(16, 8, 4)(Observations(x, normaliser, task))

    assert_same(pure(ours), pure(plain), x, to_x=False)


def test_normalised_boards() -> None:
    x = np.random.default_rng(0).random((3, 10, 9, 6)) < 0.3
    normaliser, task = random_normaliser((2, 10, 9, 6), 1), np.array([1, 0, 1])

    def plain(x: jax.Array) -> jax.Array:
        x = jnp.clip((x - normaliser.mean[task]) * normaliser.scale[task], -5, 5)
        return hk.Conv2D(7, 3, padding="VALID")(x)

    def ours(x: jax.Array) -> jax.Array:
        return BoardConv2D(7, 3, 1)(Observations(x, normaliser, task))

    assert_same(pure(ours), pure(plain), x, to_x=False)


def test_a_kernel_that_the_stride_does_not_divide() -> None:
    with pytest.raises(ValueError, match="kernel=5: must be a multiple of stride=2"):
        pure(lambda x: StridedConv2D(1, 5, 2)(x)).init(
            jax.random.PRNGKey(0), np.zeros((1, 9, 9, 1))
        )
