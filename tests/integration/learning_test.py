"""What the agent learns with the README's commands."""

import json
import pathlib

import pytest

from tests.integration.programs import train

SCALES = {"catch_x1": 1, "catch_x100": 100, "catch_x10000": 10_000}


def mean_returns(logdir: pathlib.Path, frames: int, *flags: str) -> dict[str, float]:
    """Mean return of 100 episodes of each task after training as `make train SUITE=toy` does."""
    train(
        logdir,
        "--level_name=toy",
        f"--total_environment_frames={frames}",
        "--test_num_episodes=100",
        *flags,
        timeout=280,
    )
    (path,) = logdir.glob("evaluation-*.json")
    return {score["task"]: score["mean"] for score in json.loads(path.read_text())["tasks"]}


@pytest.mark.slow
def test_popart_learns_rewards_of_all_scales(tmp_path: pathlib.Path) -> None:
    means = mean_returns(tmp_path / "run", 500_000)
    assert means.keys() == SCALES.keys()
    for task, scale in SCALES.items():
        assert means[task] >= 0.9 * scale, means


@pytest.mark.by_hand
def test_plain_impala_does_not(tmp_path: pathlib.Path) -> None:
    means = mean_returns(tmp_path / "run", 1_000_000, "--nopopart")
    assert means.keys() == SCALES.keys()
    assert any(means[task] < 0.9 * scale for task, scale in SCALES.items()), means
