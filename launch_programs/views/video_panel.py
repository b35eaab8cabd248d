"""The panel beside a game: what the policy computed from the picture shown."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Pixels. The height is the minimum that fits everything.
WIDTH = 320
HEIGHT = 420

_MARGIN = 10
_NUMBERS = 46  # beside the curve
CURVE_LENGTH = WIDTH - 2 * _MARGIN - _NUMBERS  # steps in the curve, one per pixel

_MAX_ACTIONS = 18  # rows of the panel: Atari's full set
_ROW = 11  # pixels of one of them
_CURVE = (82, 146)  # top and bottom
_ACTIONS_TOP = 152
_ATTENTION_TOP = 372
_NAME_WIDTH = 104
_NUMBER_WIDTH = 34

_BACKGROUND = (18, 20, 26)
_TEXT = (232, 232, 232)
_DIM = (150, 156, 168)
_TRACK = (44, 48, 58)
_BAR = (86, 156, 214)
_CHOSEN = (255, 170, 60)
_VALUE = (110, 205, 130)


class Choice(NamedTuple):
    """What the policy computed from one observation, and which action was taken."""

    # Predicted discounted return, in the scale of the task's rewards as the learner saw them; None
    # if the policy was not trained on the task, and so has no value for it.
    value: float | None
    probabilities: np.ndarray  # [num_actions]
    action: int
    attention: np.ndarray | None  # [K], weights of an attentive network's sub-networks


class PanelState(NamedTuple):
    """The contents of one panel: one time step of an episode."""

    task: str
    step: int  # agent steps before the picture
    frame: int  # environment frames played, up to the last picture of the step
    episode_return: float  # rewards up to the picture
    choice: Choice | None  # what was computed from the picture; None at the end of the episode
    # The newest values of the episode, ending with that of `choice`; at most `CURVE_LENGTH` are
    # drawn.
    values: Sequence[float]
    value_range: tuple[float, float]  # lowest and highest of the whole episode so far
    action_names: Sequence[str]  # by action
    value_label: str = "value"


def draw_panel(state: PanelState, height: int = HEIGHT) -> np.ndarray:
    """Draws a panel.

    Args:
      state: the contents to show.
      height: height of the image in pixels, at least `HEIGHT`.

    Returns:
      uint8 [height, WIDTH, 3].

    Raises:
      ValueError: `height` is too small.
    """
    if height < HEIGHT:
        raise ValueError(f"height is {height}; it must be at least {HEIGHT}")
    image = Image.new("RGB", (WIDTH, height), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    _text(draw, (_MARGIN, 6), _shortened(state.task, 15, WIDTH - 2 * _MARGIN), _TEXT, 15)
    _text(draw, (_MARGIN, 27), f"step {state.step:,}   frame {state.frame:,}", _DIM)
    _text(draw, (_MARGIN, 44), "return", _DIM)
    _text(draw, (_MARGIN + _NAME_WIDTH, 42), _number(state.episode_return), _TEXT, 14)
    _text(draw, (_MARGIN, 63), state.value_label, _DIM)
    value = "end of the episode"
    if state.choice is not None:
        value = "none" if state.choice.value is None else _number(state.choice.value)
    _text(draw, (_MARGIN + _NAME_WIDTH, 61), value, _VALUE, 14)
    _draw_curve(draw, state.values, state.value_range)
    _draw_actions(draw, state.choice, state.action_names)
    if state.choice is not None and state.choice.attention is not None:
        _draw_attention(draw, state.choice.attention)
    return np.asarray(image)


def _draw_curve(
    draw: ImageDraw.ImageDraw, values: Sequence[float], value_range: tuple[float, float]
) -> None:
    """Draws the newest values, one per pixel; the axis covers all values so far."""
    left, right = _MARGIN, _MARGIN + CURVE_LENGTH
    top, bottom = _CURVE
    draw.rectangle((left, top, right, bottom), fill=_TRACK)
    if not values:
        return
    low, high = value_range
    shown = np.asarray(values[-CURVE_LENGTH:], np.float64)
    share = (shown - low) / (high - low) if high > low else np.full(len(shown), 0.5)
    heights = bottom - 3 - share * (bottom - top - 6)
    points = [(left + x, float(y)) for x, y in enumerate(heights)]
    if len(points) > 1:
        draw.line(points, fill=_VALUE)
    x, y = points[-1]
    draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=_TEXT)
    _text(draw, (right + 5, top), _number(high), _DIM, 10)
    if high > low:
        _text(draw, (right + 5, bottom - 11), _number(low), _DIM, 10)


def _draw_actions(
    draw: ImageDraw.ImageDraw, choice: Choice | None, action_names: Sequence[str]
) -> None:
    rows = list(range(len(action_names)))
    title = "action probabilities"
    if len(rows) > _MAX_ACTIONS:
        title += f" (of {len(rows)} the {_MAX_ACTIONS} likeliest, and the chosen one)"
        if choice is None:
            rows = []
        else:
            likeliest = np.argsort(-choice.probabilities, kind="stable").tolist()
            likeliest.remove(choice.action)
            rows = sorted([choice.action, *likeliest[: _MAX_ACTIONS - 1]])
    _text(draw, (_MARGIN, _ACTIONS_TOP), title, _DIM, 10)
    left, right = _MARGIN + _NAME_WIDTH, WIDTH - _MARGIN - _NUMBER_WIDTH
    for i, action in enumerate(rows):
        y = _ACTIONS_TOP + 15 + i * _ROW
        chosen = choice is not None and choice.action == action
        colour = _CHOSEN if chosen else _TEXT
        name = _shortened(action_names[action], 10, _NAME_WIDTH - 6)
        _text(draw, (_MARGIN, y - 1), name, colour, 10)
        draw.rectangle((left, y + 1, right, y + _ROW - 3), fill=_TRACK)
        if choice is None:
            continue
        probability = float(choice.probabilities[action])
        length = round(probability * (right - left))
        if length:
            draw.rectangle(
                (left, y + 1, left + length, y + _ROW - 3), fill=_CHOSEN if chosen else _BAR
            )
        _text(draw, (right + 6, y - 1), f"{probability:.2f}", colour, 10)


def _draw_attention(draw: ImageDraw.ImageDraw, weights: np.ndarray) -> None:
    _text(draw, (_MARGIN, _ATTENTION_TOP), "attention to sub-networks", _DIM, 10)
    left, top, bottom = _MARGIN, _ATTENTION_TOP + 14, _ATTENTION_TOP + 33
    column = (WIDTH - 2 * _MARGIN) / len(weights)
    for i, weight in enumerate(weights):
        x0, x1 = round(left + i * column), round(left + (i + 1) * column) - 3
        draw.rectangle((x0, top, x1, bottom), fill=_TRACK)
        height = round(float(weight) * (bottom - top))
        if height:
            draw.rectangle((x0, bottom - height, x1, bottom), fill=_BAR)
        label = f"{i}: {weight:.2f}" if column >= 44 else str(i)
        _text(draw, (x0, bottom + 1), label, _DIM, 10)


def _number(value: float) -> str:
    """A number in the task's units, with about three significant digits."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 100 else f"{value:.2f}"


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


@functools.lru_cache(maxsize=1024)
def _shortened(text: str, size: int, width: int) -> str:
    """The text, cut to at most `width` pixels."""
    font = _font(size)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


@functools.lru_cache(maxsize=4096)
def _mask(text: str, size: int) -> Image.Image:
    """Text as a grey image, cached because redrawing costs ten times as much."""
    left, top, right, bottom = _font(size).getbbox(text)
    image = Image.new("L", (max(1, int(right)), max(1, int(bottom))), 0)
    ImageDraw.Draw(image).text((0, 0), text, fill=255, font=_font(size))
    return image


def _text(
    draw: ImageDraw.ImageDraw,
    position: tuple[int, int],
    text: str,
    colour: tuple[int, int, int],
    size: int = 12,
) -> None:
    if text:
        draw.bitmap(position, _mask(text, size), fill=colour)
