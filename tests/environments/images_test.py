"""Images of all layouts, from Gymnasium and from dm_env."""

import sys
from typing import Any

import dm_env
import gymnasium
import numpy as np
import pytest
from dm_env import specs
from gymnasium import spaces

from agents.popart_impala.networks import default_network, shallow
from environments import AtariOptions, StackedFrames, features_spec, parse_level_name
from environments.factory import make_environment
from environments.gymnasium_env import GymnasiumEnvironment
from environments.images import SMALLEST_IMAGE, grey, image_layout, resized

COLOUR = np.random.default_rng(0).integers(256, size=(50, 60, 3), dtype=np.uint8)
STACK = np.random.default_rng(1).integers(256, size=(4, 50, 60), dtype=np.uint8)
COLOURS = np.random.default_rng(2).integers(256, size=(2, 50, 60, 3), dtype=np.uint8)
GREY = grey(COLOUR)


class Shown(gymnasium.Env[Any, Any]):
    action_space = spaces.Discrete(2)

    def __init__(self, array: np.ndarray, high: float):
        self._array = array
        self.observation_space = spaces.Box(0, high, array.shape, array.dtype)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return self._array, {}

    def step(self, action: Any) -> Any:
        return self._array, 0.0, False, False, {}


class ShownByDmEnv(dm_env.Environment):
    action_names = ("a", "b")

    def __init__(self, array: np.ndarray, high: float):
        self._array = array
        self._high = high

    def reset(self) -> dm_env.TimeStep:
        return dm_env.restart(self._array)

    def step(self, action: Any) -> dm_env.TimeStep:
        return dm_env.transition(0.0, self._array)

    def observation_spec(self) -> specs.Array:
        return specs.BoundedArray(self._array.shape, self._array.dtype, 0, self._high)

    def action_spec(self) -> specs.DiscreteArray:
        return specs.DiscreteArray(2, np.int32)


class Module:
    """A user's module with a factory."""

    environment: dm_env.Environment

    @classmethod
    def make(cls, seed: int) -> dm_env.Environment:
        return cls.environment


def first_two(
    array: np.ndarray, high: float, monkeypatch: pytest.MonkeyPatch, domain: str
) -> tuple[specs.Array, np.ndarray, np.ndarray]:
    """Returns spec and first two features of an environment that always shows one array."""
    if domain == "gym":
        gym = GymnasiumEnvironment(Shown(array, high), seed=0)
        return gym.observation_spec(), gym.reset().observation, gym.step(0).observation
    Module.environment = ShownByDmEnv(array, high)
    monkeypatch.setitem(sys.modules, "own_images", Module)
    tasks = parse_level_name("dm_env:own_images:make")
    environment = make_environment(tasks, 0, atari=AtariOptions(), seed=0)
    first, second = environment.reset(), environment.step(0)
    spec = features_spec(tasks)
    return spec, first.observation.features, second.observation.features


@pytest.mark.parametrize("domain", ["gym", "dm_env"])
@pytest.mark.parametrize(
    ("array", "high", "frame"),
    [
        (COLOUR, 255, GREY),
        (COLOUR[:, :, 1], 255, COLOUR[:, :, 1]),
        (COLOUR[:, :, 1:2], 255, COLOUR[:, :, 1]),
        (COLOUR.astype(np.float32), 255, GREY),
        ((COLOUR / 255).astype(np.float32), 1, GREY),
        (COLOUR.astype(np.int64), 255, GREY),
        ((COLOUR / 255).astype(np.float32).transpose(2, 0, 1), 1, GREY),
    ],
)
def test_single_images_become_stacks(
    array: np.ndarray, high: float, frame: np.ndarray, domain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, first, second = first_two(array, high, monkeypatch, domain)
    assert isinstance(spec, StackedFrames)
    assert default_network(spec) == "shallow"
    assert not first[:3].any()
    np.testing.assert_array_equal(first[3], resized(frame, 84, 84))
    np.testing.assert_array_equal(second[2:], np.stack([first[3]] * 2))


@pytest.mark.parametrize("array", [COLOUR.transpose(2, 0, 1), COLOUR[None, :, :, 1]])
def test_channels_first(array: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gymnasium's are treated as channels last; dm_env's [S, H, W] reach the network unchanged."""
    last = array.transpose(1, 2, 0)
    _, first, _ = first_two(array, 255, monkeypatch, "gym")
    np.testing.assert_array_equal(first[3], resized(grey(last), 84, 84))
    spec, first, _ = first_two(array, 255, monkeypatch, "dm_env")
    assert default_network(spec) == "shallow"
    np.testing.assert_array_equal(first, array)


@pytest.mark.parametrize(
    ("array", "frames"),
    [
        (STACK, STACK),
        (STACK.transpose(1, 2, 0), STACK),
        (COLOURS, np.stack([grey(image) for image in COLOURS])),
        (COLOURS.transpose(0, 3, 1, 2), np.stack([grey(image) for image in COLOURS])),
        (COLOURS[:, :, :, :1], COLOURS[:, :, :, 0]),
        (COLOURS[:1], grey(COLOURS[0])[None]),
    ],
)
def test_stacks_stay_stacks(
    array: np.ndarray, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, first, second = first_two(array, 255, monkeypatch, "gym")
    assert (spec.shape, spec.dtype) == ((len(frames), 84, 84), np.uint8)
    assert not isinstance(spec, StackedFrames)  # the environment decides how it begins
    np.testing.assert_array_equal(first, np.stack([resized(f, 84, 84) for f in frames]))
    np.testing.assert_array_equal(second, first)
    assert first is not second


@pytest.mark.parametrize(
    ("shape", "dtype", "low", "high"),
    [
        ((35, 35, 3), np.uint8, 0, 255),  # a grid of symbols
        ((128,), np.uint8, 0, 255),
        ((3, 200), np.uint8, 0, 255),
        ((50, 60), np.float32, 0, 1),  # any matrix
        ((50, 60, 3), np.float32, -1, 1),
        ((50, 60, 3), np.float32, None, None),
        ((50, 60, 7), np.float32, 0, 1),
    ],
)
def test_what_is_no_image(
    shape: tuple[int, ...], dtype: Any, low: float | None, high: float | None
) -> None:
    assert image_layout(shape, dtype, low, high) is None


@pytest.mark.parametrize("shape", [(50, 60, 70), (50, 3, 60), (50, 60, 3, 2), (2, 5, 50, 60)])
def test_axes_that_cannot_be_told_apart(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError) as error:
        image_layout(shape, np.uint8)
    assert str(error.value).startswith("images must be [H, W], [H, W, 1], [1, H, W], [H, W, 3]")
    assert str(error.value).endswith(f"; the observations are {list(shape)}")


def test_images_in_a_dict() -> None:
    class Pixels(Shown):
        def __init__(self, **more: Any) -> None:
            super().__init__(COLOUR, 255)
            self.observation_space = spaces.Dict(pixels=self.observation_space, **more)

        def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
            return {"pixels": COLOUR, "mission": "go"}, {}

    environment = GymnasiumEnvironment(Pixels(mission=spaces.Text(5)), seed=0)
    assert isinstance(environment.observation_spec(), StackedFrames)
    np.testing.assert_array_equal(environment.reset().observation[3], resized(GREY, 84, 84))
    with pytest.raises(ValueError, match="^observations must be images alone or numbers alone, "):
        GymnasiumEnvironment(Pixels(speed=spaces.Box(0, 1, (2,))), seed=0)


@pytest.mark.parametrize(
    ("shape", "network"), [((4, 36, 36), "shallow"), ((4, 10, 10), "mlp"), ((10, 10), "mlp")]
)
def test_the_network_for_images_and_boards(shape: tuple[int, ...], network: str) -> None:
    assert default_network(specs.Array(shape, np.uint8)) == network


def test_one_size_of_the_smallest_image() -> None:
    assert shallow.SMALLEST_IMAGE == SMALLEST_IMAGE
