"""The panel, read back from its pixels."""

from typing import Any

import numpy as np
import pytest

from launch_programs.views.video_panel import (
    CURVE_LENGTH,
    HEIGHT,
    WIDTH,
    Choice,
    PanelState,
    draw_panel,
)

NAMES = ("left", "stay", "right")
BAR, CHOSEN, CURVE = (86, 156, 214), (255, 170, 60), (110, 205, 130)


def state(**changes: Any) -> PanelState:
    choice = Choice(2.0, np.array([0.125, 0.5, 0.375]), 2, None)
    given = PanelState("catch_x1", 3, 12, 5.0, choice, [1.0, 3.0, 2.0], (1.0, 3.0), NAMES)
    return given._replace(**changes)


def lengths(panel: np.ndarray, colour: tuple[int, int, int]) -> list[int]:
    """Widths of the filled bars of a colour, from top to bottom."""
    rows = (panel == colour).all(-1).sum(1)
    bars = [int(n) for n in rows if n > 4]
    return [n for i, n in enumerate(bars) if i == 0 or bars[i - 1] != n]


def test_size_and_purity() -> None:
    panel = draw_panel(state())
    assert panel.shape == (HEIGHT, WIDTH, 3)
    assert panel.dtype == np.uint8
    np.testing.assert_array_equal(panel, draw_panel(state()))
    tall = draw_panel(state(), 600)
    np.testing.assert_array_equal(tall[:HEIGHT], panel)
    with pytest.raises(ValueError, match="height is 419; it must be at least 420"):
        draw_panel(state(), 419)


def test_bars_are_as_long_as_probabilities() -> None:
    panel = draw_panel(state())
    left, stay = lengths(panel, BAR)
    (right,) = [n for n in lengths(panel, CHOSEN) if n > 40]
    full = WIDTH - 2 * 10 - 104 - 34
    for length, probability in ((left, 0.125), (stay, 0.5), (right, 0.375)):
        assert abs(length - 1 - probability * full) <= 1


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "catch_x100"},
        {"step": 4},
        {"frame": 13},
        {"episode_return": 6.0},
        {"choice": Choice(2.5, np.array([0.125, 0.5, 0.375]), 2, None)},
        {"choice": Choice(2.0, np.array([0.125, 0.5, 0.375]), 1, None)},
        {"choice": Choice(2.0, np.array([0.125, 0.5, 0.375]), 2, np.array([0.3, 0.7]))},
        {"choice": None},
        {"values": [1.0, 3.0, 2.5]},
        {"value_range": (0.0, 3.0)},
        {"action_names": ("rechts", "stay", "right")},
        {"value_label": "value (clipped)"},
    ],
)
def test_everything_is_shown(changes: dict[str, Any]) -> None:
    assert (draw_panel(state()) != draw_panel(state(**changes))).any()


def test_the_curve_rises_with_the_value_and_moves_on() -> None:
    def curve(values: list[float]) -> tuple[np.ndarray, np.ndarray]:
        panel = draw_panel(state(values=values, value_range=(0.0, 1.0), choice=None))[82:147]
        y, x = np.nonzero((panel == CURVE).all(-1))
        return y, x

    y, x = curve([0.0] * 50 + [1.0] * 50)
    assert y[x < 40].mean() > y[(x > 70)].mean() + 40
    y, x = curve([0.0] * 50 + [1.0] * CURVE_LENGTH)
    assert (y == y[0]).all()  # the zeros have scrolled out
    assert len(set(x)) >= CURVE_LENGTH - 6  # all but the dot at its end


@pytest.mark.parametrize("count", [1, 15])
def test_attention(count: int) -> None:
    weights = np.full(count, 0.5)
    choice = Choice(2.0, np.array([0.0, 0.0, 1.0]), 2, weights)
    with_bars = draw_panel(state(choice=choice))
    without = draw_panel(state(choice=choice._replace(attention=None)))
    np.testing.assert_array_equal(with_bars[:370], without[:370])
    strip = (with_bars[370:] == BAR).all(-1)
    assert abs(strip.any(1).sum() - 1 - 0.5 * 19) <= 1  # half their height
    assert strip.any(0).sum() == pytest.approx(WIDTH - 20, abs=3 * count + 2)


def test_of_many_actions_the_likeliest_and_the_chosen_one() -> None:
    probabilities = np.full(40, 0.01)
    probabilities[20] = 0.61
    names = [f"action {i}" for i in range(40)]
    choice = Choice(2.0, probabilities, 39, None)
    panel = draw_panel(state(choice=choice, action_names=names))
    assert (panel == CHOSEN).all(-1).any()  # 39, though 17 others are as likely and come before
    assert max(lengths(panel, BAR)) == pytest.approx(0.61 * 162, abs=2)


def test_long_names_are_cut() -> None:
    long = "gym:my_package:" + "Very" * 40 + "Long-v0"
    panel = draw_panel(state(task=long, action_names=["move to the left " * 9, "b", "c"]))
    assert (panel[:25, WIDTH - 10 :] == panel[0, 0]).all()
