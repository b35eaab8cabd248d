"""Observations and rewards of environments, in every dtype that they may use."""

import decimal
from typing import Any

import dm_env
import numpy as np
import pytest
from dm_env import specs

from environments import BatchedDmEnvironments, StackedFrames, WithTask
from environments.conversion import converted_features, features_spec, number

KEPT = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "float16", "float32"]
NARROWED = {"int64": "int32", "uint64": "uint32", "float64": "float32", "longdouble": "float32"}


@pytest.mark.parametrize("dtype", KEPT)
def test_types_of_at_most_32_bits_stay(dtype: str) -> None:
    spec = specs.BoundedArray((2, 2), dtype, 0, 1, "board")
    assert features_spec(spec) is spec
    own = np.array([[0, 1], [1, 0]], dtype)
    features = converted_features(own, spec)
    spec.validate(features)
    np.testing.assert_array_equal(features, own)
    assert not np.shares_memory(features, own)


@pytest.mark.parametrize(("wide", "narrow"), NARROWED.items())
def test_wider_types_become_32_bits(wide: str, narrow: str) -> None:
    spec = specs.BoundedArray((3,), wide, 0, 2**40, "numbers")
    converted = features_spec(spec)
    assert converted == specs.Array((3,), narrow) and converted.name == "numbers"
    features = converted_features(np.array([0, 1, 2**31 - 1], wide), spec)
    converted.validate(features)
    np.testing.assert_array_equal(features, np.array([0, 1, 2**31 - 1]).astype(narrow))


def test_stacks_of_wider_types_are_stacks() -> None:
    converted = features_spec(StackedFrames((4, 2), np.int64, -5, 2**40, "frames"))
    assert isinstance(converted, StackedFrames)
    assert converted == StackedFrames((4, 2), np.int32, -5, 2**31 - 1, "frames")


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("int64", 2**31),
        ("int64", -(2**31) - 1),
        ("int64", 2**32),  # would wrap around to 0
        ("uint64", 2**32),
        ("uint64", 2**64 - 1),
        ("float64", 1e39),
        ("float64", -1e300),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_32_bits_cannot_hold_is_refused(dtype: str, value: float) -> None:
    spec = specs.Array((2,), dtype)
    with pytest.raises(ValueError, match=r"features have .*, but the agent has 32 bits and .*32 "):
        converted_features(np.array([0, value], dtype), spec)


@pytest.mark.filterwarnings("error")
def test_numbers_that_are_not_finite_pass() -> None:
    # Finding them is the guard's job, for every dtype alike.
    given = np.array([np.nan, np.inf, -np.inf])
    np.testing.assert_array_equal(converted_features(given, specs.Array((3,), float)), given)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (specs.Array((), np.float32), r"the spec's shape is \(\), a scalar: \(1,\) would do"),
        (specs.DiscreteArray(3), r"the spec's shape is \(\), a scalar"),
        (specs.Array((0,), np.float32), r"the spec's shape is \(0,\)"),
        (specs.Array((3, 0), np.int64), r"the spec's shape is \(3, 0\)"),
        (specs.StringArray((2,)), "the spec's dtype is object"),
        (specs.Array((2,), "U5"), "the spec's dtype is <U5"),
        (specs.Array((2,), "S5"), r"the spec's dtype is \|S5"),
        (specs.Array((2,), np.complex64), "the spec's dtype is complex64"),
        (specs.Array((2,), "datetime64[s]"), "the spec's dtype is datetime64"),
        (specs.Array((2,), [("x", np.float32)]), "the spec's dtype is "),
    ],
)
def test_observations_that_are_refused(spec: specs.Array, message: str) -> None:
    with pytest.raises(ValueError, match=f"^an observation must be one array of num.*; {message}"):
        features_spec(spec)


def test_features_unlike_their_spec() -> None:
    for wrong in (np.zeros(3), np.zeros((2, 1), np.float32), None, "left", [0, 1]):
        with pytest.raises(ValueError, match=r"features are .*, their spec says float32 \(2,\)"):
            converted_features(wrong, specs.Array((2,), np.float32))


@pytest.mark.parametrize(
    "value",
    [3, 3.0, np.float32(3), np.int64(3), np.array(3), np.array([3.0]), np.array([[3]], np.int8)],
)
def test_one_number(value: Any) -> None:
    assert number("reward", value) == 3.0
    assert type(number("reward", value)) is float
    assert number("reward", np.array([True])) == 1.0


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (None, "None"),
        ("3", "'3'"),
        ([1.0, 2.0], r"float64 \(2,\)"),
        (np.zeros(0, np.float32), r"float32 \(0,\)"),
        (1j, r"complex128 \(\)"),
        (decimal.Decimal(3), r"Decimal\('3'\)"),
        ({"a": 1.0}, "{'a': 1.0}"),
    ],
)
def test_what_is_not_one_number(value: Any, what: str) -> None:
    with pytest.raises(ValueError, match=f"^the reward is {what}, not one number$"):
        number("reward", value)


class Wide(dm_env.Environment):
    """Counts in one 64-bit array shared by all instances; rewards are one-element arrays."""

    board = np.zeros(1, np.int64)

    def __init__(self, number: int):
        self._number = number

    def _show(self, step: int) -> np.ndarray:
        self._step = step
        self.board[0] = 100 * self._number + step
        return self.board

    def reset(self) -> dm_env.TimeStep:
        return dm_env.restart(self._show(0))

    def step(self, action: int) -> dm_env.TimeStep:
        reward, discount = np.array([self._number]), np.array([1.0])
        shown = self._show(self._step + 1)
        if self._step == 3:
            return dm_env.truncation(reward, shown, discount)
        return dm_env.transition(reward, shown, discount)

    def observation_spec(self) -> specs.Array:
        return specs.Array((1,), np.int64, "count")

    def action_spec(self) -> specs.DiscreteArray:
        return specs.DiscreteArray(2, np.int32)

    def reward_spec(self) -> specs.Array:
        return specs.Array((1,), np.int64, "reward")


def test_a_task_gives_what_the_agent_takes() -> None:
    environment = WithTask(Wide(7), 0, 1)
    spec: Any = environment.observation_spec().features
    steps = [environment.reset(), *(environment.step(0) for _ in range(3))]
    np.testing.assert_array_equal(
        [s.observation.features for s in steps], [[700], [701], [702], [703]]
    )
    for step in steps:
        spec.validate(step.observation.features)
    for step in steps[1:]:
        environment.reward_spec().validate(step.reward)
        environment.discount_spec().validate(step.discount)
        assert step.reward == 7.0


@pytest.mark.filterwarnings("error")
def test_environments_of_a_batch_may_share_an_array() -> None:
    batch = BatchedDmEnvironments([WithTask(Wide(i), 0, 1) for i in range(3)])
    shown = [batch.reset()] + [batch.step(np.zeros(3, np.int32)) for _ in range(3)]
    for t, step in enumerate(shown):
        count = t % 3
        np.testing.assert_array_equal(
            step.observation.features, [[count], [100 + count], [200 + count]]
        )
        assert step.observation.features.dtype == np.int32
    assert shown[3].truncated.all()
    np.testing.assert_array_equal(shown[3].final_features, [[3], [103], [203]])
    np.testing.assert_array_equal(shown[3].reward, [0, 1, 2])
