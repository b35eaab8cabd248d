"""What Weights & Biases gets, read from the files of its offline mode."""

import json
import pathlib
from collections.abc import Iterator

import pytest
import wandb

from environments import parse_level_name
from environments.scores import score
from launch_programs.run.metrics import CSVTable, Row
from launch_programs.run.run_directory import RunDirectory
from launch_programs.views.wandb_mirror import WandbMirror
from tests.launch_programs.runs import CONFIG
from tests.launch_programs.wandb_files import files, history, records, summary

LEARNER: Row = {"time": 1.0, "frames": 640, "frames_per_second": 2000.0, "loss": 0.5}
EPISODE: Row = {
    "time": 1.0,
    "frames": 0,
    "task": "pong",
    "episode_return": -21.0,
    "episode_length": 9,
}


@pytest.fixture
def directory(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunDirectory]:
    wandb.teardown()  # it reads its variables once per process
    monkeypatch.setenv("WANDB_MODE", "offline")
    directory = RunDirectory(tmp_path / "run")
    directory.create()
    directory.write_config(CONFIG)
    yield directory
    wandb.teardown()


@pytest.mark.slow
def test_rows_become_history_and_a_resumed_run_goes_on(directory: RunDirectory) -> None:
    CSVTable(directory.path / "actors.csv").append([EPISODE])
    CSVTable(directory.path / "learner.csv").append([LEARNER])
    mirror = WandbMirror(CONFIG, directory)
    mirror.update()
    assert "wandb/offline-run-" in mirror.where
    CSVTable(directory.path / "learner.csv").append([{**LEARNER, "frames": 1280}])
    mirror.close()
    mirror.finish(130)
    wandb.teardown()  # its process writes the file; offline, `finish` does not wait for it
    (first,) = files(directory.path)
    assert [row["frames"] for row in history(first)] == [640, 1280]
    assert history(first)[0]["charts/episodic_return/pong"] == -21.0
    assert history(first)[0]["charts/SPS"] == 500.0
    begun = next(r.run for r in records(first) if r.WhichOneof("record_type") == "run")
    settings = {item.key: json.loads(item.value_json) for item in begun.config.update}
    assert begun.display_name == "run"
    assert begun.project == "popart-impala"
    assert settings["agent.learning_rate"] == CONFIG.agent.learning_rate
    assert settings["tasks"] == ["pong", "seaquest"]
    (ended,) = (r.exit for r in records(first) if r.WhichOneof("record_type") == "exit")
    assert ended.exit_code == 130

    resumed = WandbMirror(CONFIG, directory)
    CSVTable(directory.path / "learner.csv").append([{**LEARNER, "frames": 960}])
    resumed.close()
    resumed.finish(0, [score(parse_level_name("pong")[0], [1.0, 3.0])])
    wandb.teardown()
    second = files(directory.path)[1]
    assert [row["frames"] for row in history(second)] == [960]
    again = next(r.run for r in records(second) if r.WhichOneof("record_type") == "run")
    assert again.run_id == begun.run_id
    assert summary(second)["final/episodic_return/pong"] == 2.0
    assert "final/human_normalised_percent/median" in summary(second)


@pytest.mark.slow
def test_without_a_key_it_says_what_else_can_be_done(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "")
    monkeypatch.setenv("NETRC", str(directory.path / "none"))
    with pytest.raises(ValueError, match=r"^wandb=True: .*WANDB_MODE=offline"):
        WandbMirror(CONFIG, directory)
