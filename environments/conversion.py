"""What environments show and pay -> what the agent takes: the one place where that is converted.

JAX computes with 32 bits. Left alone, it would let 64-bit integers wrap around and say nothing.
"""

from typing import Any

import numpy as np
from dm_env import specs

from environments.types import StackedFrames

# What becomes of the types that the agent does not take as they are.
_NARROWER = {
    np.dtype(np.int64): np.dtype(np.int32),
    np.dtype(np.uint64): np.dtype(np.uint32),
    np.dtype(np.float64): np.dtype(np.float32),
    np.dtype(np.longdouble): np.dtype(np.float32),
}

_ACCEPTED = "one array of numbers, of one axis or more, none of them empty"


def features_spec(spec: specs.Array) -> specs.Array:
    """The spec of features, as the agent takes them, of an environment's own observation spec.

    It is the same, but for 64-bit numbers: they become 32-bit ones, float64 float32, int64 int32,
    uint64 uint32.

    Raises:
      ValueError: observations are no numbers, are scalars or are empty.
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
    """Features as `features_spec(own)` says; a new array, for the environment may reuse its own.

    Args:
      features: what the environment showed.
      own: the environment's own observation spec.

    Raises:
      ValueError: they are not as `own` says, or hold a number that 32 bits do not have.
    """
    array = np.asarray(features)
    if array.shape != own.shape or array.dtype != own.dtype:
        raise ValueError(
            f"features are {array.dtype} {array.shape}, their spec says {own.dtype} {own.shape}"
        )
    dtype = _NARROWER.get(array.dtype)
    if dtype is None:
        return array.copy()
    with np.errstate(over="ignore"):  # looked for below
        narrow = array.astype(dtype)
    lost = np.isinf(narrow) & np.isfinite(array) if dtype.kind == "f" else narrow != array
    if lost.any():
        raise ValueError(
            f"features have {array[lost][0]}, but the agent has 32 bits and {dtype} cannot hold it"
        )
    return narrow


def number(name: str, value: Any) -> float:
    """A reward or discount as a float: a number, or an array of one.

    Args:
      name: of what it is, for the message.
      value: what the environment gave.

    Raises:
      ValueError: it is something else.
    """
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "biuf":
        what = f"{array.dtype} {array.shape}" if array.dtype.kind in "biufc" else repr(value)
        raise ValueError(f"the {name} is {what}, not one number")
    return float(array.item())
