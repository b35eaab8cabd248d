"""A run's curve from its table of episodes."""

import pathlib

from benchmarks.run_curve import EPISODES, Point, curve, plot


def rows_of(task: str, number: int, start: float) -> list[dict[str, str]]:
    return [
        {"task": task, "frames": str(100 * i), "episode_return": str(start + i)}
        for i in range(number)
    ]


def test_points_are_means_of_consecutive_episodes_of_one_task(tmp_path: pathlib.Path) -> None:
    pong, seaquest = rows_of("pong", 2 * EPISODES + 3, -21.0), rows_of("seaquest", EPISODES, 0.0)
    mixed = [row for pair in zip(pong, seaquest, strict=False) for row in pair]
    mixed += pong[len(seaquest) :]
    points = curve(mixed)
    half = (EPISODES - 1) / 2
    assert points == [
        Point("pong", 100 * (EPISODES - 1), -21.0 + half),
        Point("pong", 100 * (2 * EPISODES - 1), -21.0 + EPISODES + half),
        Point("seaquest", 100 * (EPISODES - 1), half),
    ]
    plot(points, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
