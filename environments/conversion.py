"""Converts observations, rewards and discounts into what the agent takes, here and nowhere else.

JAX computes in 32 bits. Left alone, it would silently let 64-bit integers wrap around.
"""

from typing import Any

import numpy as np
from dm_env import specs

from environments.types import StackedFrames

# Replacements for the types that the agent does not take as they are.
_NARROWER = {
    np.dtype(np.int64): np.dtype(np.int32),
    np.dtype(np.uint64): np.dtype(np.uint32),
    np.dtype(np.float64): np.dtype(np.float32),
    np.dtype(np.longdouble): np.dtype(np.float32),
}

_ACCEPTED = "one array of numbers, of one axis or more, none of them empty"


def features_spec(spec: specs.Array) -> specs.Array:
    """Converts an environment's own observation spec to the spec of the features that agents take.

    It is the same, except that 64-bit numbers become 32-bit ones: float64 becomes float32, int64
    int32, uint64 uint32.

    Raises:
      ValueError: observations are not numbers, are scalars or are empty.
    """
    if spec.dtype.kind not in "biuf":
        raise ValueError(f"an observation must be {_ACCEPTED}; the spec's dtype is {spec.dtype}")
    if not spec.shape:
        raise ValueError(
            f"an observation must be {_ACCEPTED}; the spec's shape is (), a scalar: (1,) would do"
        )
    if 0 in spec.shape:
        raise ValueError(f"an observation must be {_ACCEPTED}; the spec's shape is {spec.shape}")
    dtype = _NARROWER.get(spec.dtype, spec.dtype)
    if dtype == spec.dtype:
        return spec
    if not isinstance(spec, StackedFrames):
        return specs.Array(spec.shape, dtype, spec.name)
    info = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    low, high = (np.clip(x, info.min, info.max) for x in (spec.minimum, spec.maximum))
    return StackedFrames(spec.shape, dtype, low, high, spec.name)


def converted_features(features: Any, own: specs.Array) -> np.ndarray:
    """Converts features to `features_spec(own)`; a new array, as environments may reuse theirs.

    Args:
      features: the environment's observation.
      own: the environment's own observation spec.

    Raises:
      ValueError: they do not match `own`, or hold a number that does not fit into 32 bits.
    """
    array = np.asarray(features)
    if array.shape != own.shape or array.dtype != own.dtype:
        raise ValueError(
            f"features are {array.dtype} {array.shape}, their spec says {own.dtype} {own.shape}"
        )
    dtype = _NARROWER.get(array.dtype)
    if dtype is None:
        return array.copy()
    with np.errstate(over="ignore"):  # checked below
        narrow = array.astype(dtype)
    lost = np.isinf(narrow) & np.isfinite(array) if dtype.kind == "f" else narrow != array
    if lost.any():
        raise ValueError(
            f"features have {array[lost][0]}, but the agent has 32 bits and {dtype} cannot hold it"
        )
    return narrow


def number(name: str, value: Any) -> float:
    """Converts a reward or discount, a number or an array of one, to a float.

    Args:
      name: what it is, for the message.
      value: what the environment returned.

    Raises:
      ValueError: it is anything else.
    """
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "biuf":
        what = f"{array.dtype} {array.shape}" if array.dtype.kind in "biufc" else repr(value)
        raise ValueError(f"the {name} is {what}, not one number")
    return float(array.item())
