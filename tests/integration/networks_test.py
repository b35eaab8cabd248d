"""A preset's attentive network in a whole program, on games."""

import pathlib

import numpy as np
import pytest

from launch_programs.run.metrics import read_rows
from tests.compiling import unoptimised
from tests.integration.programs import train


@pytest.mark.slow
def test_a_preset_trains_on_games(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in unoptimised().items():
        monkeypatch.setenv(name, value)
    out = train(
        tmp_path / "run",
        "--preset=amt",
        "--level_name=pong,seaquest",
        "--batch_size=2",
        "--unroll_length=5",
        "--total_environment_frames=400",
        "--num_actors=1",
        "--environments_per_actor=2",
        "--evaluation_interval=0",
        "--test_num_episodes=0",
        "--log_interval=0.01",
    )
    assert "preset amt: " in out
    assert "overridden: " in out and "batch_size=2 instead of 32" in out
    rows = read_rows(tmp_path / "run" / "learner.csv")
    assert rows
    weights = [[float(row[f"attention_{k}/pong"]) for k in range(2)] for row in rows]
    played = [pair for pair in weights if not np.isnan(pair).any()]
    assert played
    np.testing.assert_allclose(np.sum(played, axis=1), 1.0, rtol=1e-4)
