"""Which observations are images, and how those of any layout become grey frames."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import dm_env
import numpy as np
from dm_env import specs

from environments.types import StackedFrames

# As Atari's features, so that the same networks fit.
FRAMES = StackedFrames((4, 84, 84), np.uint8, 0, 255, "frames")

# Pixels on a side below which arrays are grids of symbols rather than images; the smallest that the
# image networks take.
SMALLEST_IMAGE = 36

# ITU-R 601, as OpenCV.
_GREY = np.array([0.299, 0.587, 0.114], np.float32)

ACCEPTED = (
    "images must be [H, W], [H, W, 1], [1, H, W], [H, W, 3], [3, H, W], or stacks of S other than "
    "1 and 3: [S, H, W], [H, W, S], [S, H, W, C], [S, C, H, W], with H and W at least "
    f"{SMALLEST_IMAGE} and all else below"
)


@dataclasses.dataclass(frozen=True)
class ImageLayout:
    """Where an array of images has its axes."""

    axes: tuple[int, ...]  # that bring it to [S, H, W, C], of those that it has
    has_stack: bool
    has_channels: bool
    frames: int  # S
    white: float  # the value of white

    def frames_of(self, array: np.ndarray) -> np.ndarray:
        """An array of the layout -> uint8 [S, H, W], in grey."""
        frames = array.transpose(self.axes)
        if not self.has_stack:
            frames = frames[None]
        if frames.dtype != np.uint8:
            scaled = frames.astype(np.float32) * np.float32(255.0 / self.white)
            frames = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
        return np.stack([grey(frame) for frame in frames]) if self.has_channels else frames


def image_layout(
    shape: Sequence[int], dtype: Any, low: float | None = None, high: float | None = None
) -> ImageLayout | None:
    """The layout of observations that are images; None if they are none.

    Images have two neighbouring axes of at least `SMALLEST_IMAGE`, and are uint8, or numbers whose
    bounds are 0 and 1, or 0 and 255, with an axis of channels or a stack. An axis of 1 or 3 is one
    of channels (grey, or red, green and blue), any other a stack of frames.

    Args:
      shape: of one observation.
      dtype: of it.
      low: its lowest value, if it is known.
      high: its highest value, if it is known.

    Raises:
      ValueError: it is uint8 and as large as an image, but the axes cannot be told apart.
    """
    large = [axis for axis, size in enumerate(shape) if size >= SMALLEST_IMAGE]
    if len(large) < 2:
        return None
    certain = np.dtype(dtype) == np.uint8
    white = 255.0 if certain else _white(shape, low, high)
    if white is None:
        return None
    small = [axis for axis in range(len(shape)) if axis not in large]
    channels = [axis for axis in small if shape[axis] in (1, 3)]
    stacks = [axis for axis in small if axis not in channels]
    if len(channels) == 2 and not stacks and channels[0] < large[0]:
        stacks = [channels.pop(0)]  # such as one or three frames in colour
    if (
        len(large) != 2
        or large[1] != large[0] + 1
        or len(stacks) > 1
        or len(channels) > 1
        or (stacks and channels and stacks[0] > large[0])
    ):
        if certain:
            raise ValueError(f"{ACCEPTED}; the observations are {list(shape)}")
        return None
    return ImageLayout(
        axes=(*stacks, *large, *channels),
        has_stack=bool(stacks),
        has_channels=bool(channels),
        frames=shape[stacks[0]] if stacks else 1,
        white=white,
    )


def _white(shape: Sequence[int], low: float | None, high: float | None) -> float | None:
    """White's value in an array that is not uint8; None if it need not be an image."""
    if len(shape) < 3 or low != 0 or high not in (1, 255) or min(shape) > 4:
        return None
    return float(high)


class ImageStacker:
    """Observations of one layout -> features, step by step."""

    def __init__(self, layout: ImageLayout):
        """Starts an episode."""
        self._layout = layout
        self.reset()

    @property
    def spec(self) -> specs.BoundedArray:
        """`FRAMES` of single images; of stacks uint8 [S, 84, 84]."""
        if not self._layout.has_stack:
            return FRAMES
        shape = (self._layout.frames, *FRAMES.shape[1:])
        return specs.BoundedArray(shape, np.uint8, 0, 255, "frames")

    def reset(self) -> None:
        """Starts an episode: no frame was seen."""
        self._stack = np.zeros(FRAMES.shape, np.uint8)

    def features(self, observation: Any) -> np.ndarray:
        """An observation -> features; never an array that was given out before."""
        frames = self._layout.frames_of(np.asarray(observation))
        small = np.stack([resized(frame, *FRAMES.shape[1:]) for frame in frames])
        if self._layout.has_stack:
            return small
        self._stack = np.concatenate([self._stack[1:], small])
        return self._stack


class ImageEnvironment(dm_env.Environment):
    """A dm_env environment that shows images, with `ImageStacker`'s features instead."""

    def __init__(self, environment: dm_env.Environment, layout: ImageLayout):
        self._environment = environment
        self._stacker = ImageStacker(layout)

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode."""
        return self._shown(self._environment.reset())

    def step(self, action: Any) -> dm_env.TimeStep:
        """Takes one step."""
        return self._shown(self._environment.step(action))

    def observation_spec(self) -> specs.Array:
        """That of the features."""
        return self._stacker.spec

    def action_spec(self) -> Any:
        """The environment's own."""
        return self._environment.action_spec()

    def reward_spec(self) -> Any:
        """The environment's own."""
        return self._environment.reward_spec()

    def discount_spec(self) -> Any:
        """The environment's own."""
        return self._environment.discount_spec()

    def close(self) -> None:
        """Closes the environment."""
        self._environment.close()

    def __getattr__(self, name: str) -> Any:
        # What it may offer besides: `render`, `action_names`.
        if name in ("render", "action_names"):
            return getattr(self._environment, name)
        raise AttributeError(name)

    def _shown(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        if timestep.first():
            self._stacker.reset()
        return timestep._replace(observation=self._stacker.features(timestep.observation))


def grey(image: np.ndarray) -> np.ndarray:
    """An image uint8 [H, W], [H, W, 1] or [H, W, 3] (red, green, blue) -> uint8 [H, W]."""
    if image.ndim == 2:
        return image
    if image.shape[2] == 1:
        return image[:, :, 0]
    return np.rint(image @ _GREY).astype(np.uint8)


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes uint8 [H, W] to uint8 [height, width]: each pixel is the mean of what it covers."""
    by_rows = _coverage(image.shape[0], height) @ image.astype(np.float32)
    return np.rint(by_rows @ _coverage(image.shape[1], width).T).astype(np.uint8)


@functools.cache
def _coverage(old: int, new: int) -> np.ndarray:
    """Share of each new pixel that each old one has, along one axis: float32 [new, old]."""
    edges = np.arange(new + 1) * (old / new)
    begin, end = edges[:-1, None], edges[1:, None]
    pixels = np.arange(old)
    overlap = np.minimum(end, pixels + 1) - np.maximum(begin, pixels)
    return (np.clip(overlap, 0, None) * (new / old)).astype(np.float32)
