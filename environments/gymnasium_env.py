"""Environments that are registered with Gymnasium, as dm_env environments."""

import contextlib
import dataclasses
import functools
from typing import Any

import dm_env
import gymnasium
import numpy as np
from dm_env import specs
from gymnasium import spaces

from environments.rendering import NoPicture, Pictures, Screen, observed_screen, rate_of
from environments.types import StackedFrames
from environments.user_code import imported

# As Atari's features, so that the same networks fit.
FRAMES = StackedFrames((4, 84, 84), np.uint8, 0, 255, "frames")

# Pixels on a side below which uint8 arrays are grids of symbols rather than images; the smallest
# that the image networks take.
_SMALLEST_IMAGE = 36

# ITU-R 601, as OpenCV.
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


class GymnasiumEnvironment(dm_env.Environment):
    """A Gymnasium environment with discrete actions, seen as a dm_env environment.

    Features are
    - of images (`Box` of uint8, [H, W], [H, W, 1] or [H, W, 3], at least 36 x 36): `FRAMES`, the
      last four, in grey, resized to 84 x 84 by area interpolation, newest last, zeros before the
      episode's first;
    - of anything else that `gymnasium.spaces.flatten` takes: float32 [n], what that gives;
      `Discrete` and `MultiDiscrete` as one-hots. Text in a `Dict` is left out.

    A truncated episode ends with discount 1, a terminated one with discount 0.
    """

    def __init__(self, environment: gymnasium.Env[Any, Any], seed: int):
        """Takes the environment over.

        Args:
          environment: what to adapt.
          seed: of all that is random in it; given to its first reset.

        Raises:
          ValueError: its actions are not discrete, or its observations none of the above; names
            the space.
        """
        if not isinstance(environment.action_space, spaces.Discrete):
            raise ValueError(
                f"actions must be discrete, the action space is {environment.action_space}"
            )
        self._environment = environment
        self._seed: int | None = seed
        self._first_action = int(environment.action_space.start)
        self._num_actions = int(environment.action_space.n)
        self._space = environment.observation_space
        self._images = _is_image(self._space)
        self._numbers = None if self._images else _numbers_of(self._space)
        self._stack = np.zeros(FRAMES.shape, np.uint8)
        self._over = True  # whether the next step starts an episode

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode."""
        observation, _ = self._environment.reset(seed=self._seed)
        self._seed = None
        self._over = False
        self._stack = np.zeros(FRAMES.shape, np.uint8)
        return dm_env.restart(self._features(observation))

    def step(self, action: Any) -> dm_env.TimeStep:
        """Takes one step, or starts an episode if the last one is over.

        Args:
          action: an integer in [0, number of actions).
        """
        if self._over:
            return self.reset()
        observation, reward, terminated, truncated, _ = self._environment.step(
            self._first_action + int(action)
        )
        features = self._features(observation)
        self._over = terminated or truncated
        if terminated:
            return dm_env.termination(float(reward), features)
        if truncated:
            return dm_env.truncation(float(reward), features)
        return dm_env.transition(float(reward), features)

    def observation_spec(self) -> specs.Array:
        """`FRAMES`, or float32 [n]."""
        if self._numbers is None:
            return FRAMES
        size = spaces.flatdim(self._numbers)
        return specs.Array((size,), np.float32, "features")

    def action_spec(self) -> specs.DiscreteArray:
        """Integers from 0, wherever the space's start."""
        return specs.DiscreteArray(self._num_actions, np.int32, "action")

    @property
    def metadata(self) -> dict[str, Any]:
        """The environment's own: how it can be rendered."""
        return self._environment.metadata

    def render(self) -> Any:
        """What the environment's own returns, of any kind; with `render_mode="rgb_array"`."""
        return self._environment.render()

    def close(self) -> None:
        """Closes the environment."""
        self._environment.close()

    def _features(self, observation: Any) -> np.ndarray:
        """An observation -> features; never an array that was given out before."""
        if self._numbers is None:
            frame = grey(np.asarray(observation))
            self._stack = np.concatenate([self._stack[1:], resized(frame, *FRAMES.shape[1:])[None]])
            return self._stack
        flat = spaces.flatten(self._numbers, _matching(self._numbers, observation))
        return np.array(flat, np.float32)


def make_gymnasium(name: str, seed: int, *, render_mode: str | None = None) -> GymnasiumEnvironment:
    """Makes a registered environment, with the time limit that it is registered with.

    Args:
      name: "CartPole-v1", or "MODULE:ID" for one that importing a module registers.
      seed: of all that is random in the environment.
      render_mode: one of those that the environment's metadata names.

    Raises:
      ValueError: it is not registered, what it needs is not installed, its name lacks the version,
        or it is of a kind that `GymnasiumEnvironment` does not take.
    """
    module, colon, _ = name.partition(":")
    if colon:
        imported(module)
    elif name not in gymnasium.registry:
        import ale_py  # which registers Atari's games; loads the emulator

        gymnasium.register_envs(ale_py)
    # Environments that cannot be rendered may not take the argument.
    rendering: dict[str, Any] = {} if render_mode is None else {"render_mode": render_mode}
    try:
        # What the checker looks for, the adapter and the guard around environments find as well.
        environment = gymnasium.make(name, disable_env_checker=True, **rendering)
    except (gymnasium.error.Error, ImportError) as error:
        raise ValueError(str(error)) from error
    assert environment.spec is not None  # of what is made by its name
    registered = environment.spec.id
    if registered != name.rpartition(":")[2]:
        environment.close()
        raise ValueError(f"give the version, so that the task stays the same: {registered}")
    try:
        return GymnasiumEnvironment(environment, seed)
    except ValueError:
        environment.close()
        raise


def make_filmed_gymnasium(name: str, seed: int) -> tuple[GymnasiumEnvironment, Screen]:
    """Makes a registered environment and its screen, Gymnasium's own rendering if it has one.

    Args:
      name: as of `make_gymnasium`.
      seed: of all that is random in the environment.

    Raises:
      ValueError: as `make_gymnasium`.
    """
    environment = make_gymnasium(name, seed)
    metadata = environment.metadata if isinstance(environment.metadata, dict) else {}
    screen = observed_screen(environment)
    screen = dataclasses.replace(
        screen, frames_per_second=rate_of(metadata, screen.frames_per_second)
    )
    if "rgb_array" not in (metadata.get("render_modes") or ()):
        return environment, screen
    # Whether it can draw here shows only when it draws; in another environment, for this one has
    # its seed to keep.
    try:
        Pictures(lambda: _first_picture(name, seed)).draw()
    except NoPicture as error:
        return environment, dataclasses.replace(screen, missing=str(error))
    environment.close()
    environment = make_gymnasium(name, seed, render_mode="rgb_array")
    pictures = Pictures(environment.render)
    return environment, dataclasses.replace(
        screen, frames=lambda _: pictures.draw()[None], missing=""
    )


def _first_picture(name: str, seed: int) -> Any:
    """What an environment of its own renders of its first observation."""
    with contextlib.closing(make_gymnasium(name, seed, render_mode="rgb_array")) as probe:
        probe.reset()
        return probe.render()


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


def _is_image(space: spaces.Space[Any]) -> bool:
    """Whether a space is of images.

    Raises:
      ValueError: it is of arrays that look like images, but of a kind that cannot be shown in grey.
    """
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8 or len(space.shape) < 2:
        return False
    if min(space.shape[:2]) < _SMALLEST_IMAGE:
        return False
    if len(space.shape) > 3 or space.shape[2:] not in ((), (1,), (3,)):
        raise ValueError(
            f"images must be [H, W], [H, W, 1] or [H, W, 3], the observation space is {space}"
        )
    return True


def _numbers_of(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """The space without the text in it.

    Raises:
      ValueError: nothing is left, or it cannot be flattened to a fixed size.
    """
    numbers = _without_text(space)
    if _is_text(numbers) or not numbers.is_np_flattenable or spaces.flatdim(numbers) == 0:
        raise ValueError(
            f"observations must be numbers of a fixed size, the observation space is {space}"
        )
    return numbers


def _without_text(space: spaces.Space[Any]) -> spaces.Space[Any]:
    if not isinstance(space, spaces.Dict):
        return space
    return spaces.Dict({k: _without_text(part) for k, part in space.items() if not _is_text(part)})


def _is_text(space: spaces.Space[Any]) -> bool:
    """Whether it is `Text`, or a space of strings of an environment's own."""
    return space.dtype is not None and space.dtype.kind == "U"


def _matching(space: spaces.Space[Any], observation: Any) -> Any:
    """The parts of an observation that the space, which may lack text, has."""
    if isinstance(space, spaces.Dict):
        return {key: _matching(part, observation[key]) for key, part in space.items()}
    return observation
