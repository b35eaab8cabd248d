"""Settings, table and directory of a population."""

import pathlib
from typing import Any

import pytest

from launch_programs.run.metrics import CSVTable
from launch_programs.run.population import (
    PopulationDirectory,
    Range,
    Row,
    parse_ranges,
    parse_references,
)
from tests.launch_programs.populations import make_population, population


def test_settings_to_tune() -> None:
    assert parse_ranges(["learning_rate:1e-5:1e-2", "entropy_cost:0.001:0.1"]) == {
        "learning_rate": Range(1e-5, 1e-2),
        "entropy_cost": Range(0.001, 0.1),
    }


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["learning_rate"], "tuned='learning_rate': must be NAME:LOW:HIGH with 0 < LOW < HIGH"),
        (["learning_rate:1"], "must be NAME:LOW:HIGH"),
        (["learning_rate:a:b"], "must be NAME:LOW:HIGH"),
        (["learning_rate:1:2:3"], "must be NAME:LOW:HIGH"),
        (["learning_rate:0:1"], "must be NAME:LOW:HIGH with 0 < LOW < HIGH"),
        (["learning_rate:2:1"], "must be NAME:LOW:HIGH with 0 < LOW < HIGH"),
        (["learning_rate:1:inf"], "must be NAME:LOW:HIGH with 0 < LOW < HIGH"),
        (["batch_size:8:64"], "'batch_size' cannot be tuned; must be one of discounting, baseline"),
        (["rate:1:2"], "'rate' cannot be tuned; must be one of discounting, baseline_cost"),
        (["entropy_cost:1:2", "entropy_cost:1:3"], "entropy_cost is given twice"),
    ],
)
def test_what_cannot_be_tuned(texts: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_ranges(texts)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": 1}, "population=1: must be at least 2"),
        ({"interval": 0}, "perturbation_interval=0: must be from 1 to .* 1000"),
        ({"interval": 1001}, "perturbation_interval=1001: must be from 1 to .* 1000"),
        ({"ranges": {}}, "tuned=.*: must be at least one setting"),
        ({"ranges": {"discounting": Range(0.9, 1.5)}}, "discounting=1.5: must be in "),
    ],
)
def test_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        population(**changes)


def test_several_tasks_need_scores_or_references() -> None:
    population("gym:CartPole-v1")  # its return is enough
    with pytest.raises(ValueError, match="gym:Acrobot-v1 has no scores to normalise by"):
        population("gym:Acrobot-v1,gym:MountainCar-v0")
    one, two = "minatar:breakout", "minatar:freeway"
    with pytest.raises(ValueError, match=f"{one} has no scores .* give --reference={one}:LOW:HIGH"):
        population("minatar")
    with pytest.raises(ValueError, match=f"{two} has no scores"):
        population(f"{one},{two}", references={one: Range(0.0, 10.0)})
    config = population(f"{one},{two}", references={one: Range(2.0, 10.0), two: Range(0.0, 50.0)})
    breakout, freeway = config.run.task_list()
    assert config.normalised(breakout, 4.0) == pytest.approx(25.0)
    assert config.normalised(freeway, 60.0) == pytest.approx(120.0)


def test_references() -> None:
    texts = ["gym:Acrobot-v1:-500:-90", "pong:0:21"]
    found = parse_references(texts)
    assert found == {"gym:Acrobot-v1": Range(-500.0, -90.0), "pong": Range(0.0, 21.0)}
    # They override a task's own scores.
    config = population("pong", references={"pong": Range(0.0, 20.0)})
    (pong,) = config.run.task_list()
    assert config.normalised(pong, 5.0) == pytest.approx(25.0)
    assert pong.human_score is not None
    assert population("pong").normalised(pong, pong.human_score) == pytest.approx(100.0)
    with pytest.raises(ValueError, match="reference='seaquest': must be of a task .*learned: pong"):
        population("pong", references={"seaquest": Range(0.0, 20.0)})


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["pong:20"], "reference='pong:20': must be TASK:LOW:HIGH with LOW < HIGH"),
        (["0:20"], "must be TASK:LOW:HIGH"),
        ([":0:20"], "must be TASK:LOW:HIGH"),
        (["pong:a:20"], "must be TASK:LOW:HIGH"),
        (["pong:20:0"], "must be TASK:LOW:HIGH"),
        (["pong:nan:20"], "must be TASK:LOW:HIGH"),
        (["pong:0:inf"], "must be TASK:LOW:HIGH"),
        (["pong:0:20", "pong:0:21"], "pong is given twice"),
    ],
)
def test_what_is_no_reference(texts: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_references(texts)


def test_runs_of_the_members() -> None:
    config = population()
    assert config.intervals == 3
    run = config.member_run(2, {"learning_rate": 0.003}, 0)
    assert run.agent.learning_rate == 0.003
    assert run.agent.entropy_cost == config.run.agent.entropy_cost
    assert run.seed == config.run.seed + 2
    assert run.agent.total_environment_frames == 1000  # the schedule spans the whole run
    ends = [config.member_run(0, {}, interval).last_frame for interval in range(3)]
    assert ends == [400, 800, 1000]
    assert config.member_run(0, {}).last_frame == 1000


def test_settings_come_back(tmp_path: pathlib.Path) -> None:
    config = population(scheduler="random", references={"catch_x1": Range(0.0, 2.0)})
    assert make_population(tmp_path, config).read_config() == config


def test_damaged_settings(tmp_path: pathlib.Path) -> None:
    directory = PopulationDirectory(tmp_path)
    with pytest.raises(ValueError, match=r"is no population: it has no tune\.json"):
        directory.read_config()
    for text in ("{", "{}", '{"ranges": {"a": 3}}'):
        directory.settings.write_text(text)
        with pytest.raises(ValueError, match=r"tune\.json cannot be read"):
            directory.read_config()


def row(interval: int, member: int, score: float) -> Row:
    return Row(1.5, interval, member, member, 400, score, {"learning_rate": 0.25})


def test_the_newest_row_of_an_interval_counts(tmp_path: pathlib.Path) -> None:
    directory = make_population(tmp_path, population())
    assert directory.read_rows() == []
    rows = [row(0, 1, 3.0), row(0, 0, 1.0), row(1, 0, 5.0), row(0, 0, 2.0)]
    CSVTable(directory.table).append([r.to_row() for r in rows])
    assert directory.read_rows() == [row(0, 0, 2.0), row(0, 1, 3.0), row(1, 0, 5.0)]
    directory.table.write_text("time,interval\n1,2\n")
    with pytest.raises(ValueError, match=r"population\.csv is damaged"):
        directory.read_rows()


def test_a_directory_is_claimed_once(tmp_path: pathlib.Path) -> None:
    first = PopulationDirectory(tmp_path / "new" / "one")
    first.claim()
    first.write_config(population())
    with pytest.raises(ValueError, match="another program is tuning there"):
        PopulationDirectory(first.path).claim()
    other = PopulationDirectory(tmp_path)
    with pytest.raises(ValueError, match="is neither empty nor a population"):
        other.claim()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot be written to: "):
        PopulationDirectory(tmp_path / "file").claim()
