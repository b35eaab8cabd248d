"""A run's curve from its episodes."""

import pathlib

import numpy as np

from benchmarks.run_curve import EPISODES, Point, curve, plot
from launch_programs.history import Episodes


def episodes(number: int, start: float) -> Episodes:
    i = np.arange(number)
    return Episodes(time=1.0 * i, frames=100 * i, returns=start + i, lengths=0 * i)


def test_points_are_means_of_consecutive_episodes_of_one_task(tmp_path: pathlib.Path) -> None:
    points = curve({"pong": episodes(2 * EPISODES + 3, -21.0), "seaquest": episodes(EPISODES, 0.0)})
    half = (EPISODES - 1) / 2
    assert points == [
        Point("pong", 100 * (EPISODES - 1), -21.0 + half),
        Point("pong", 100 * (2 * EPISODES - 1), -21.0 + EPISODES + half),
        Point("seaquest", 100 * (EPISODES - 1), half),
    ]
    plot(points, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
