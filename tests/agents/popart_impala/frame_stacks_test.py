"""Stacks rebuilt from single frames, against their definition."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.popart_impala.frame_stacks import rebuild_stacks

FRAME_SHAPE = (2, 3)

rebuild_batch = jax.jit(jax.vmap(rebuild_stacks))


def definition(frames: np.ndarray, first: np.ndarray, size: int) -> np.ndarray:
    """[T+1, S, ...]: entry s of stack t is the frame at t-S+1+s, or 0 if from another episode.

    `frames` starts S-1 frames before o_0, with the rest of o_0's stack.
    """
    num_steps = len(first)
    stacks = np.zeros((num_steps, size, *frames.shape[1:]), frames.dtype)
    for t in range(num_steps):
        for s in range(size):
            time = t - size + 1 + s
            if not first[max(time + 1, 1) : t + 1].any():
                stacks[t, s] = frames[time + size - 1]
    return stacks


def patterns_of_first(length: int) -> np.ndarray:
    """Returns every bool [length] for short lengths, else random ones from none to all true."""
    if length <= 6:
        return np.array(list(itertools.product([False, True], repeat=length)))
    rng = np.random.default_rng(0)
    return rng.random((100, length)) < np.linspace(0, 1, 100)[:, None]


@pytest.mark.parametrize("unroll_length", [1, 2, 3, 5, 20])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_agrees_with_the_definition(size: int, unroll_length: int) -> None:
    first = patterns_of_first(unroll_length + 1)
    rng = np.random.default_rng(1)
    frames = rng.integers(
        1, 256, (len(first), size - 1 + unroll_length + 1, *FRAME_SHAPE), dtype=np.uint8
    )
    stacks = np.asarray(rebuild_batch(frames, first))
    assert stacks.dtype == np.uint8
    expected = np.stack([definition(f, b, size) for f, b in zip(frames, first, strict=True)])
    np.testing.assert_array_equal(stacks, expected)


def test_by_hand() -> None:
    # Frames 1 and 2 are the rest of o_0's stack; an episode starts at time 2, the next at time 3.
    frames = jnp.array([1, 2, 3, 4, 5, 6, 7], jnp.float32)
    first = jnp.array([True, False, True, True, False])
    np.testing.assert_array_equal(
        rebuild_stacks(frames, first),
        [[1, 2, 3], [2, 3, 4], [0, 0, 5], [0, 0, 6], [0, 6, 7]],
    )
