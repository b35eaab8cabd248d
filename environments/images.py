"""Tells which observations are images, and converts images of any layout to grey frames."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import dm_env
import numpy as np
from dm_env import specs

from environments.types import StackedFrames

# The same as Atari's features, so that the same networks fit.
FRAMES = StackedFrames((4, 84, 84), np.uint8, 0, 255, "frames")

# Arrays with fewer pixels on a side are grids of symbols rather than images. It is also the
# smallest size that the image networks take.
SMALLEST_IMAGE = 36

# ITU-R 601, as in OpenCV.
_GREY = np.array([0.299, 0.587, 0.114], np.float32)

ACCEPTED = (
    "images must be [H, W], [H, W, 1], [1, H, W], [H, W, 3], [3, H, W], or stacks of S other than "
    "1 and 3: [S, H, W], [H, W, S], [S, H, W, C], [S, C, H, W], with H and W at least "
    f"{SMALLEST_IMAGE} and all else below"
)


@dataclasses.dataclass(frozen=True)
class ImageLayout:
    """The order of an image array's axes."""

    axes: tuple[int, ...]  # permutation to [S, H, W, C], without the axes that it lacks
    has_stack: bool
    has_channels: bool
    frames: int  # S
    white: float  # the value of white

    def frames_of(self, array: np.ndarray) -> np.ndarray:
        """Converts an array of this layout to uint8 [S, H, W], in grey."""
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
    """The layout of observations that are images; None if they are not.

    Images have two adjacent axes of at least `SMALLEST_IMAGE`, and are uint8, or numbers bounded by
    0 and 1 or by 0 and 255 with a channel or stack axis. An axis of size 1 or 3 holds channels
    (grey, or red, green and blue); any other is a stack of frames.

    Args:
      shape: one observation's shape.
      dtype: one observation's dtype.
      low: its lowest value, if known.
      high: its highest value, if known.

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
    """The value of white in an array that is not uint8; None if it need not be an image."""
    if len(shape) < 3 or low != 0 or high not in (1, 255) or min(shape) > 4:
        return None
    return float(high)


class ImageStacker:
    """Converts observations of one layout to features, step by step."""

    def __init__(self, layout: ImageLayout):
        """Starts an episode."""
        self._layout = layout
        self.reset()

    @property
    def spec(self) -> specs.BoundedArray:
        """`FRAMES` for single images; uint8 [S, 84, 84] for stacks."""
        if not self._layout.has_stack:
            return FRAMES
        shape = (self._layout.frames, *FRAMES.shape[1:])
        return specs.BoundedArray(shape, np.uint8, 0, 255, "frames")

    def reset(self) -> None:
        """Starts an episode: no frame has been seen."""
        self._stack = np.zeros(FRAMES.shape, np.uint8)

    def features(self, observation: Any) -> np.ndarray:
        """Converts an observation to features; never returns the same array twice."""
        frames = self._layout.frames_of(np.asarray(observation))
        small = np.stack([resized(frame, *FRAMES.shape[1:]) for frame in frames])
        if self._layout.has_stack:
            return small
        self._stack = np.concatenate([self._stack[1:], small])
        return self._stack


class ImageEnvironment(dm_env.Environment):
    """Wraps a dm_env environment that shows images; its observations are `ImageStacker`'s."""

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
        """Spec of the features."""
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
        # What an environment may offer besides the interface: `render`, `action_names`.
        if name in ("render", "action_names"):
            return getattr(self._environment, name)
        raise AttributeError(name)

    def _shown(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        if timestep.first():
            self._stacker.reset()
        return timestep._replace(observation=self._stacker.features(timestep.observation))


def grey(image: np.ndarray) -> np.ndarray:
    """Converts uint8 [H, W], [H, W, 1] or [H, W, 3] (red, green, blue) to grey uint8 [H, W]."""
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
    """Share of each new pixel that each old one covers, along one axis: float32 [new, old]."""
    edges = np.arange(new + 1) * (old / new)
    begin, end = edges[:-1, None], edges[1:, None]
    pixels = np.arange(old)
    overlap = np.minimum(end, pixels + 1) - np.maximum(begin, pixels)
    return (np.clip(overlap, 0, None) * (new / old)).astype(np.float32)
