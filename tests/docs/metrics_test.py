"""The guide on metrics has every column of a run's tables."""

import csv
import pathlib
import re

import pytest

from tests.compiling import unoptimised
from tests.integration.programs import train

ROOT = pathlib.Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "metrics.md"

# What the placeholders in documented column names match.
_PARTS = {"TASK": ".+", "K": r"\d+"}


def documented(table: str) -> list[str]:
    """The columns that the guide's section on a table lists, in order."""
    (section,) = re.findall(
        rf"^## {re.escape(table)}$(.*?)(?=^## |\Z)", GUIDE.read_text(), re.M | re.S
    )
    return re.findall(r"^\| `([^`]+)` \|", section, re.M)


def expression(column: str) -> str:
    """A pattern that matches the names of a documented column."""
    words = re.split(r"(?<=[_/])(TASK|K)(?=/|$)", column)
    return "".join(_PARTS.get(word, re.escape(word)) for word in words)


def header(path: pathlib.Path) -> list[str]:
    with path.open() as file:
        return next(csv.reader(file))


@pytest.mark.slow
def test_columns_of_a_run_are_in_the_guide_and_no_others(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run has all columns: an attentive network, an evaluator, a failure."""
    logdir = tmp_path / "run"
    for name, value in unoptimised().items():
        monkeypatch.setenv(name, value)
    train(
        logdir,
        "--launch_type=local_mt",
        "--level_name=toy",
        "--network=attentive",
        "--subnets=2",
        "--total_environment_frames=8000",
        "--evaluation_interval=2000",
        "--log_interval=0.2",
        "--test_num_episodes=0",
        "--num_actors=1",
        "--environments_per_actor=6",
    )
    from launch_programs.run.failure_log import FailureLog
    from launch_programs.run.run_directory import RunDirectory

    FailureLog(RunDirectory(logdir)).add("actor/0", "as a node writes it")
    for table in ("learner.csv", "actors.csv", "evaluator.csv", "failures.csv"):
        columns = header(logdir / table)
        patterns = documented(table)
        unknown = [c for c in columns if not any(re.fullmatch(expression(p), c) for p in patterns)]
        assert unknown == [], table
        gone = [p for p in patterns if not any(re.fullmatch(expression(p), c) for c in columns)]
        assert gone == [], table


def test_names_with_variable_parts() -> None:
    assert re.fullmatch(expression("mu/TASK"), "mu/gym:CartPole-v1")
    assert re.fullmatch(expression("attention_K/TASK"), "attention_12/pong")
    assert not re.fullmatch(expression("attention_K/TASK"), "attention_x/pong")
    assert not re.fullmatch(expression("frames"), "frames_per_second")
