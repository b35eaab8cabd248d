"""The spec of stacked frames survives copying, pickling and replacing."""

import copy
import pickle

import numpy as np
import pytest
from dm_env import specs

from environments import StackedFrames


@pytest.fixture
def spec() -> StackedFrames:
    return StackedFrames((4, 84, 84), np.uint8, 0, 255, "frames")


def assert_same(copied: object, spec: StackedFrames) -> None:
    assert type(copied) is StackedFrames
    assert copied == spec
    assert copied.name == spec.name
    assert (copied.minimum, copied.maximum) == (spec.minimum, spec.maximum)


def test_copies_are_stacked_frames(spec: StackedFrames) -> None:
    assert_same(pickle.loads(pickle.dumps(spec)), spec)
    assert_same(copy.copy(spec), spec)
    assert_same(copy.deepcopy(spec), spec)
    assert_same(spec.replace(), spec)
    replaced = spec.replace(shape=(2, 5), name="other")
    assert_same(replaced, StackedFrames((2, 5), np.uint8, 0, 255, "other"))


def test_equality(spec: StackedFrames) -> None:
    plain = specs.BoundedArray((4, 84, 84), np.uint8, 0, 255, "frames")
    assert spec == StackedFrames((4, 84, 84), np.uint8, 0, 255)
    assert spec != StackedFrames((3, 84, 84), np.uint8, 0, 255)
    assert spec != StackedFrames((4, 84, 84), np.uint8, 0, 254)
    # An agent that expects stacks cannot take just any array, nor the other way round.
    assert spec != plain
    assert plain != spec


def test_validates_like_a_bounded_array(spec: StackedFrames) -> None:
    spec.validate(np.zeros((4, 84, 84), np.uint8))
    with pytest.raises(ValueError):
        spec.validate(np.zeros((4, 84, 84), np.float32))
    assert "StackedFrames(shape=(4, 84, 84)" in repr(spec)
