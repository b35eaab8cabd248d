"""Pictures of environments for people, as shown in videos."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import dm_env
import numpy as np
from dm_env import specs

from environments.types import Observation

# Steps per second of environments that do not state their speed: boards, on which every step should
# be visible, and others.
_BOARD_RATE = 5.0
_RATE = 15.0
_FASTEST = 1000.0  # frames per second, the most that a video may have

_DARK = 64  # grey level of a board's lowest value


class NoPicture(Exception):
    """There is nothing to show; the message says why, in one line."""


@runtime_checkable
class Renderable(Protocol):
    """A dm_env environment that can be shown: any environment with this method."""

    def render(self) -> np.ndarray:
        """The picture after the last `reset` or `step`; see `Pictures`."""


class Pictures:
    """Converts what an environment's `render` returns to pictures for a video.

    It may be an array [H, W], [H, W, C] or [C, H, W] with C = 1 (grey), 3 (red, green, blue) or 4
    (with opacity, which is dropped), or anything that NumPy converts to such an array. Its numbers
    are uint8, other integers in [0, 255], floats in [0, 1] or in [0, 255], or booleans.
    """

    def __init__(self, render: Callable[[], Any]):
        """Draws nothing yet.

        Args:
          render: the environment's own method.
        """
        self._render = render
        self._white = 1.0  # for floats: 255 once one exceeds 1, since a single picture may be dark

    def draw(self) -> np.ndarray:
        """The picture, uint8 [H, W, 3].

        Raises:
          NoPicture: the environment cannot draw, or what it returns is not a picture.
        """
        try:
            drawn = self._render()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # as in `user_code.reported`
            text = " ".join(str(error).split())
            raise NoPicture(f"{type(error).__name__}{text and f': {text}'}") from error
        if drawn is None or isinstance(drawn, str):
            raise NoPicture(f"render() returned {'a text' if isinstance(drawn, str) else None}")
        try:
            array = np.asarray(drawn)
        except Exception as error:
            raise NoPicture(f"render() returned a {type(drawn).__name__}: {error}") from error
        picture = _channels_last(array)
        if picture is None or array.dtype.kind not in "buif":
            raise NoPicture(
                f"render() returned {array.dtype} {list(array.shape)}; pictures are numbers of "
                "[H, W], [H, W, C] or [C, H, W] with C = 1, 3 or 4"
            )
        return self._bytes(picture)

    def _bytes(self, picture: np.ndarray) -> np.ndarray:
        """Converts numbers of any kind [H, W, 3] to uint8 [H, W, 3]."""
        if picture.dtype == np.uint8:
            return picture
        low, high = float(picture.min()), float(picture.max())
        if not (low >= 0 and high <= 255):  # also NaN
            raise NoPicture(
                f"render() returned {picture.dtype} from {low:g} to {high:g}; pictures are of 0 to "
                "255, or floats of 0 to 1"
            )
        if picture.dtype.kind == "b":
            return picture * np.uint8(255)
        if picture.dtype.kind in "iu":
            return picture.astype(np.uint8)
        if high > 1:
            self._white = 255.0
        return np.rint(picture.astype(np.float64) * (255.0 / self._white)).astype(np.uint8)


def _channels_last(array: np.ndarray) -> np.ndarray | None:
    """Converts a picture's array to [H, W, 3]; None if it is not a picture."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
        return None
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[:, :, :3]


@dataclasses.dataclass(frozen=True)
class Screen:
    """How one environment looks to people, and what its actions are called."""

    # The pictures of the last `reset` or `step`, which returned this observation: uint8
    # [F, H, W, 3], newest last, at least one. Raises NoPicture if there are none this time. None:
    # there is nothing to show.
    frames: Callable[[Observation], np.ndarray] | None
    frames_per_second: float  # at the environment's own speed
    action_names: tuple[str, ...]  # by action
    missing: str = ""  # why there is nothing to show


def screen_of(environment: dm_env.Environment) -> Screen:
    """The screen of an environment that shows one array and has discrete actions.

    It shows what `render` returns if the environment has this method (see `Renderable`), else the
    observation if that is a picture or a board: the newest frame of uint8 [S, H, W], or [H, W] with
    finite bounds. Actions are named by its `action_names`, if it has them, else by their numbers.
    """
    if isinstance(environment, Renderable):
        pictures = Pictures(environment.render)
        return Screen(lambda _: pictures.draw()[None], _RATE, action_names(environment))
    return observed_screen(environment)


def observed_screen(environment: dm_env.Environment) -> Screen:
    """The screen of an environment that does not render: its observations (see `screen_of`)."""
    names = action_names(environment)
    spec = environment.observation_spec()
    if spec.dtype == np.uint8 and len(spec.shape) == 3:
        return Screen(lambda observation: _grey(observation.features[-1])[None], _RATE, names)
    if len(spec.shape) == 2 and _is_bounded(spec):
        low, high = float(np.min(spec.minimum)), float(np.max(spec.maximum))
        return Screen(lambda o: _board(o.features, low, high)[None], _BOARD_RATE, names)
    return Screen(None, _RATE, names, "it has no render(), and observes neither board nor picture")


def rate_of(metadata: Any, default: float) -> float:
    """The frames per second in an environment's metadata, `render_fps`, if usable.

    Args:
      metadata: a dict, or whatever an environment has in its place.
      default: returned otherwise.
    """
    rate = metadata.get("render_fps") if isinstance(metadata, dict) else None
    if isinstance(rate, (int, float, np.number)) and 0 < rate <= _FASTEST:
        return float(rate)
    return default


def action_names(environment: dm_env.Environment) -> tuple[str, ...]:
    """Names of an environment's actions: its attribute `action_names`, else their numbers.

    Raises:
      ValueError: there are not as many names as actions.
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
    """A board [H, W] in grey: `high` is white; `low` is dark, not black like its surroundings."""
    share = np.clip((board - low) / (high - low), 0.0, 1.0)
    return _grey(np.rint(_DARK + share * (255 - _DARK)).astype(np.uint8))


def _grey(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W] -> uint8 [H, W, 3]."""
    return np.repeat(image[:, :, None], 3, axis=2)
