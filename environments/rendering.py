"""Pictures of environments for people, as videos show them."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import dm_env
import numpy as np
from dm_env import specs

from environments.types import Observation

# Steps per second of environments that do not say how fast they are: boards, on which every step is
# to be seen, and others.
_BOARD_RATE = 5.0
_RATE = 15.0

_DARK = 64  # grey of a board's lowest value


@runtime_checkable
class Renderable(Protocol):
    """What an environment may offer to be seen: any dm_env environment with this method."""

    def render(self) -> np.ndarray:
        """The picture of what the last `reset` or `step` led to, uint8 [H, W, 3]."""


@dataclasses.dataclass(frozen=True)
class Screen:
    """How one environment looks to people, and what its actions are called."""

    # The pictures of the last `reset` or `step`, which gave this observation: uint8 [F, H, W, 3],
    # the newest last, at least one; all of one size for the whole of the environment's life. None:
    # there is nothing to be seen.
    frames: Callable[[Observation], np.ndarray] | None
    frames_per_second: float  # at the environment's own speed
    action_names: tuple[str, ...]  # by action
    missing: str = ""  # why there is nothing to be seen


def screen_of(environment: dm_env.Environment) -> Screen:
    """The screen of an environment that shows one array and has discrete actions.

    It is what `render` returns, if the environment has this method (see `Renderable`), else what it
    observes, if that is a picture or a board: newest frame of uint8 [S, H, W], or [H, W] within
    finite bounds. Names of actions are its `action_names`, if it has them, else their numbers.
    """
    if isinstance(environment, Renderable):
        render = environment.render
        return Screen(lambda _: render()[None], _RATE, action_names(environment))
    return observed_screen(environment)


def observed_screen(environment: dm_env.Environment) -> Screen:
    """The screen of an environment that does not render: what it observes (see `screen_of`)."""
    names = action_names(environment)
    spec = environment.observation_spec()
    if spec.dtype == np.uint8 and len(spec.shape) == 3:
        return Screen(lambda observation: _grey(observation.features[-1])[None], _RATE, names)
    if len(spec.shape) == 2 and _is_bounded(spec):
        low, high = float(np.min(spec.minimum)), float(np.max(spec.maximum))
        return Screen(lambda o: _board(o.features, low, high)[None], _BOARD_RATE, names)
    return Screen(None, _RATE, names, "it has no render(), and observes neither board nor picture")


def action_names(environment: dm_env.Environment) -> tuple[str, ...]:
    """Names of an environment's actions: its attribute `action_names`, or numbers without one.

    Raises:
      ValueError: there are not as many as actions.
    """
    actions = environment.action_spec().num_values
    names: Sequence[Any] = getattr(environment, "action_names", range(actions))
    if len(names) != actions:
        raise ValueError(f"action_names has {len(names)} names; there are {actions} actions")
    return tuple(str(name) for name in names)


def _is_bounded(spec: specs.Array) -> bool:
    return isinstance(spec, specs.BoundedArray) and bool(
        np.isfinite(spec.minimum).all()
        and np.isfinite(spec.maximum).all()
        and np.min(spec.minimum) < np.max(spec.maximum)
    )


def _board(board: np.ndarray, low: float, high: float) -> np.ndarray:
    """A board [H, W] in grey: `high` is white, `low` dark but not black as what is around it."""
    share = np.clip((board - low) / (high - low), 0.0, 1.0)
    return _grey(np.rint(_DARK + share * (255 - _DARK)).astype(np.uint8))


def _grey(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W] -> uint8 [H, W, 3]."""
    return np.repeat(image[:, :, None], 3, axis=2)
