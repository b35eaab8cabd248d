"""Training with `--wandb`, offline."""

import pathlib

import pytest

from launch_programs.run.run_directory import RunDirectory
from tests.integration.programs import train
from tests.launch_programs.wandb_files import files, history, summary


@pytest.mark.slow
def test_a_run_is_mirrored_to_its_end(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    logdir = tmp_path / "run"
    output = train(
        logdir,
        "--wandb",
        "--level_name=toy",
        "--total_environment_frames=32000",
        "--log_interval=0.5",
        "--test_num_episodes=2",
    )
    assert f"Weights & Biases: {logdir}/wandb/offline-run-" in output
    assert "wandb:" not in output  # W&B's own messages
    assert RunDirectory(logdir).resume_command().endswith(" --wandb")
    (file,) = files(logdir)
    rows = history(file)
    assert [row["frames"] for row in rows] == sorted(row["frames"] for row in rows)
    assert rows[-1]["frames"] > 0
    assert {"charts/SPS", "losses/entropy", "popart/sigma/catch_x100"} <= set(rows[-1])
    assert any("charts/episodic_return/catch_x1" in row for row in rows)
    assert "final/human_normalised_percent/median" in summary(file)
