"""Adapts environments registered with Gymnasium to dm_env."""

import contextlib
import dataclasses
from typing import Any

import dm_env
import gymnasium
import numpy as np
from dm_env import specs
from gymnasium import spaces

from environments.conversion import number
from environments.images import ImageLayout, ImageStacker, image_layout
from environments.rendering import NoPicture, Pictures, Screen, observed_screen, rate_of
from environments.user_code import imported


class GymnasiumEnvironment(dm_env.Environment):
    """A Gymnasium environment with discrete actions, as a dm_env environment.

    The features depend on the observations:
    - images (`Box`, see `images.image_layout`): `FRAMES`, the last four, in grey, resized to
      84 x 84 by area interpolation, newest last, zeros before the episode's first;
    - stacks of images: the same stacks, resized in the same way;
    - a `Dict` of images and otherwise only text: the features of the images;
    - anything else that `gymnasium.spaces.flatten` takes: its result as float32 [n], with
      `Discrete` and `MultiDiscrete` as one-hots. Text in a `Dict` is left out.

    A truncated episode ends with discount 1, a terminated one with discount 0.
    """

    def __init__(self, environment: gymnasium.Env[Any, Any], seed: int):
        """Takes ownership of the environment.

        Args:
          environment: the environment to adapt.
          seed: seeds all randomness in it; passed to its first reset.

        Raises:
          ValueError: its actions are not discrete, or its observations are none of the above; names
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
        self._key = _only_image(self._space)  # None: the observation itself
        if self._key is not None:
            self._space = self._space[self._key]  # type: ignore[index]
        layout = _layout_of(self._space)
        self._stacker = None if layout is None else ImageStacker(layout)
        self._numbers = None if layout is not None else _numbers_of(self._space)
        self._over = True  # whether the next step starts an episode

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode."""
        observation, _ = self._environment.reset(seed=self._seed)
        self._seed = None
        self._over = False
        if self._stacker is not None:
            self._stacker.reset()
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
        reward = number("reward", reward)
        features = self._features(observation)
        self._over = terminated or truncated
        if terminated:
            return dm_env.termination(reward, features)
        if truncated:
            return dm_env.truncation(reward, features)
        return dm_env.transition(reward, features)

    def observation_spec(self) -> specs.Array:
        """`FRAMES`, uint8 [S, 84, 84], or float32 [n]."""
        if self._stacker is not None:
            return self._stacker.spec
        assert self._numbers is not None  # no images
        size = spaces.flatdim(self._numbers)
        return specs.Array((size,), np.float32, "features")

    def action_spec(self) -> specs.DiscreteArray:
        """Integers from 0, wherever the action space starts."""
        return specs.DiscreteArray(self._num_actions, np.int32, "action")

    @property
    def metadata(self) -> dict[str, Any]:
        """The environment's own metadata: how it can be rendered."""
        return self._environment.metadata

    def render(self) -> Any:
        """Whatever the environment's own `render` returns; with `render_mode="rgb_array"`."""
        return self._environment.render()

    def close(self) -> None:
        """Closes the environment."""
        self._environment.close()

    def _features(self, observation: Any) -> np.ndarray:
        """Converts an observation to features; never returns the same array twice."""
        if self._key is not None:
            observation = observation[self._key]
        if self._stacker is not None:
            return self._stacker.features(observation)
        assert self._numbers is not None
        flat = spaces.flatten(self._numbers, _matching(self._numbers, observation))
        return np.array(flat, np.float32)


def make_gymnasium(name: str, seed: int, *, render_mode: str | None = None) -> GymnasiumEnvironment:
    """Makes a registered environment, with its registered time limit.

    Args:
      name: "CartPole-v1", or "MODULE:ID" for one that importing a module registers.
      seed: seeds all randomness in the environment.
      render_mode: one of the modes in the environment's metadata.

    Raises:
      ValueError: it is not registered, a dependency is not installed, its name lacks the version,
        or `GymnasiumEnvironment` does not take its kind.
    """
    module, colon, _ = name.partition(":")
    if colon:
        imported(module)
    elif name not in gymnasium.registry:
        import ale_py  # registers the Atari games; loads the emulator

        gymnasium.register_envs(ale_py)
    # Environments that cannot be rendered may not take the argument.
    rendering: dict[str, Any] = {} if render_mode is None else {"render_mode": render_mode}
    try:
        # The adapter and the guard around environments find what the checker would.
        environment = gymnasium.make(name, disable_env_checker=True, **rendering)
    except (gymnasium.error.Error, ImportError) as error:
        raise ValueError(str(error)) from error
    assert environment.spec is not None  # set for environments made by name
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
      name: as for `make_gymnasium`.
      seed: seeds all randomness in the environment.

    Raises:
      ValueError: as in `make_gymnasium`.
    """
    environment = make_gymnasium(name, seed)
    metadata = environment.metadata if isinstance(environment.metadata, dict) else {}
    screen = observed_screen(environment)
    screen = dataclasses.replace(
        screen, frames_per_second=rate_of(metadata, screen.frames_per_second)
    )
    if "rgb_array" not in (metadata.get("render_modes") or ()):
        return environment, screen
    # Only drawing shows whether it can draw here. A separate environment tries, since this one must
    # not use up its seed.
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
    """What a separate environment renders for its first observation."""
    with contextlib.closing(make_gymnasium(name, seed, render_mode="rgb_array")) as probe:
        probe.reset()
        return probe.render()


def _layout_of(space: spaces.Space[Any]) -> ImageLayout | None:
    """The layout of a space of images; None for any other space.

    Raises:
      ValueError: it looks like images whose axes cannot be told apart.
    """
    if not isinstance(space, spaces.Box):
        return None
    low, high = float(np.min(space.low)), float(np.max(space.high))
    return image_layout(space.shape, space.dtype, low, high)


def _numbers_of(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """The space without the text in it.

    Raises:
      ValueError: nothing is left, or it cannot be flattened to a fixed size.
    """
    numbers = _without_text(space)
    if isinstance(numbers, (spaces.Dict, spaces.Tuple)) and _has_images(numbers):
        raise ValueError(
            f"observations must be images alone or numbers alone, the observation space is {space}"
        )
    if _is_text(numbers) or not numbers.is_np_flattenable or spaces.flatdim(numbers) == 0:
        raise ValueError(
            f"observations must be numbers of a fixed size, the observation space is {space}"
        )
    return numbers


def _only_image(space: spaces.Space[Any]) -> str | None:
    """The key of a `Dict`'s image part if all other parts are text; else None."""
    parts = _without_text(space)
    if isinstance(parts, spaces.Dict) and len(parts) == 1:
        ((key, part),) = parts.items()
        return key if _layout_of(part) is not None else None
    return None


def _has_images(space: spaces.Space[Any]) -> bool:
    if isinstance(space, spaces.Dict):
        return any(_has_images(part) for part in space.values())
    if isinstance(space, spaces.Tuple):
        return any(_has_images(part) for part in space)
    return _layout_of(space) is not None


def _without_text(space: spaces.Space[Any]) -> spaces.Space[Any]:
    if not isinstance(space, spaces.Dict):
        return space
    return spaces.Dict({k: _without_text(part) for k, part in space.items() if not _is_text(part)})


def _is_text(space: spaces.Space[Any]) -> bool:
    """Whether it is `Text`, or an environment's own space of strings."""
    return space.dtype is not None and space.dtype.kind == "U"


def _matching(space: spaces.Space[Any], observation: Any) -> Any:
    """The parts of an observation that are in the space, which may lack text."""
    if isinstance(space, spaces.Dict):
        return {key: _matching(part, observation[key]) for key, part in space.items()}
    return observation
