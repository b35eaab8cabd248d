"""Recognises observations with neighbouring pixels or cells, and checks them for networks.

Images are uint8 [S, H, W], the last S frames. Boards are bool [H, W, C]: C planes, each true where
there is an object of its kind. The dtype tells them apart, whatever their sizes.
"""

from typing import Any

import jax
import numpy as np


def one_of(features: Any) -> jax.ShapeDtypeStruct:
    """Returns shape and dtype of one environment's features from a batch of them."""
    return jax.ShapeDtypeStruct(features.shape[1:], features.dtype)


def are_stacks(spec: Any) -> bool:
    """Whether one environment's features are a stack of frames: the spec's `stacked`, if any."""
    # Not by the class `environments.StackedFrames`: policy files load without environments.
    return bool(getattr(spec, "stacked", False))


def are_images(spec: Any) -> bool:
    """Whether one environment's features, of this `shape` and `dtype`, are stacked images."""
    return len(spec.shape) == 3 and spec.dtype == np.uint8


def are_boards(spec: Any) -> bool:
    """Whether one environment's features, of this `shape` and `dtype`, are a board in planes."""
    return len(spec.shape) == 3 and spec.dtype == np.bool_


def check_images(network: str, features: Any, at_least: int) -> None:
    """Checks that features are batches of stacked images.

    Args:
      network: the name that the user chose.
      features: array [B, ...].
      at_least: smallest height and width.

    Raises:
      ValueError: features are not uint8 [B, S, H, W] with H and W at least `at_least`.
    """
    shape = features.shape[1:]
    if len(shape) != 3 or min(shape[1:]) < at_least or features.dtype != np.uint8:
        raise ValueError(
            f"network={network!r}: needs stacked images [S, H, W] of at least {at_least} x "
            f"{at_least}, uint8; the observations are {list(shape)}, {features.dtype}; use "
            "network='mlp'"
        )


def check_boards(network: str, features: Any, at_least: int) -> None:
    """Checks that features are batches of boards.

    Args:
      network: the name that the user chose.
      features: array [B, ...].
      at_least: smallest height and width.

    Raises:
      ValueError: features are not bool [B, H, W, C] with H and W at least `at_least`.
    """
    shape = features.shape[1:]
    if len(shape) != 3 or min(shape[:2]) < at_least or features.dtype != np.bool_:
        raise ValueError(
            f"network={network!r}: needs boards [H, W, C] of at least {at_least} x {at_least}, "
            f"bool; the observations are {list(shape)}, {features.dtype}; use network='mlp'"
        )
