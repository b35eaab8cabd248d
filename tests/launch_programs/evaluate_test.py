"""The evaluation program, on a run directory with an untrained policy."""

import csv
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from environments import EnvironmentRaised
from launch_programs import evaluate
from launch_programs.evaluate import Play, load, select_tasks
from launch_programs.run.evaluations import read_evaluations
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory
from tests.integration.programs import ROOT
from tests.launch_programs.full_disk import full_beyond
from tests.launch_programs.runs import make_run


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return make_run(tmp_path_factory.mktemp("runs") / "toy", "toy")


@pytest.fixture(scope="module")
def config(toy: RunDirectory) -> RunConfig:
    return toy.read_config()


def test_all_tasks_by_default(config: RunConfig) -> None:
    assert select_tasks(config, None) == [Play(config, i, True) for i in range(3)]
    assert select_tasks(config, "toy") == select_tasks(config, None)


def test_some_tasks_in_the_order_asked_for(config: RunConfig) -> None:
    def indices(config: RunConfig, level_name: str) -> list[int]:
        return [play.index for play in select_tasks(config, level_name)]

    assert indices(config, "catch_x10000") == [2]
    assert indices(config, "catch_x10000,catch_x1") == [2, 0]
    games = dataclasses.replace(
        config, tasks=("seaquest", "ms_pacman", "pong"), environments_per_actor=15
    )
    assert indices(games, "ALE/Pong-v5, MsPacmanNoFrameskip-v4") == [2, 1]


def test_tasks_that_the_run_was_not_trained_on(config: RunConfig) -> None:
    with pytest.raises(ValueError) as error:
        select_tasks(config, "pong,seaquest")
    assert str(error.value) == (
        "level_name='pong,seaquest': the run was not trained on pong, seaquest; its tasks are "
        "catch_x1, catch_x100, catch_x10000; --play_as=TASK plays others as one of them"
    )
    with pytest.raises(ValueError, match="^unknown task 'pongg': did you mean pong"):
        select_tasks(config, "pongg")
    one = dataclasses.replace(config, tasks=("catch_x1",))
    with pytest.raises(ValueError, match="was not trained on catch_x100, catch_x10000; its tasks"):
        select_tasks(one, "toy")


def test_a_run_without_a_checkpoint(tmp_path: pathlib.Path, config: RunConfig) -> None:
    directory = RunDirectory(tmp_path)
    directory.write_config(config)
    for _ in range(2):
        with pytest.raises(ValueError) as error:
            load(directory)
        assert str(error.value) == (
            f"{tmp_path} has no checkpoint yet: train it first, with "
            f"python -m launch_programs.train --logdir={tmp_path}"
        )
        directory.checkpoints.mkdir(exist_ok=True)  # the second time, with an empty directory
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoints", "config.json"]


def read_results(stem: pathlib.Path) -> tuple[dict, list[dict]]:
    values = json.loads(stem.with_suffix(".json").read_text())
    with stem.with_suffix(".csv").open(newline="") as file:
        return values, list(csv.DictReader(file))


def test_what_is_printed_and_written(toy: RunDirectory, capsys: pytest.CaptureFixture) -> None:
    scores = evaluate.evaluate(toy, episodes=40, greedy=False, seed=3).tasks
    out = capsys.readouterr().out

    values, table = read_results(toy.path / "evaluation-5")
    assert {k: values[k] for k in ("learner_steps", "frames", "greedy", "seed")} == {
        "learner_steps": 5,
        "frames": 3200,
        "greedy": False,
        "seed": 3,
    }
    assert values["tasks"] == [score._asdict() for score in scores]
    assert table == [
        {k: "" if v is None else str(v) for k, v in score.items()} for score in values["tasks"]
    ]

    assert [score.task for score in scores] == list(toy.read_config().tasks)
    normalised = []
    for score, scale in zip(scores, (1, 100, 10_000), strict=True):
        assert score.episodes == 40
        caught = (score.mean / scale + 1) / 2 * 40  # returns are +-scale
        assert caught == pytest.approx(round(caught), abs=1e-9)
        # An untrained policy catches about one ball in five: between 0 and 20 of 40.
        assert 0 < caught < 20
        assert score.human_normalised is not None
        normalised.append(score.human_normalised)
        assert score.human_normalised == pytest.approx(
            100 * (score.mean + 0.6 * scale) / 1.6 / scale
        )
        line = next(line for line in out.splitlines() if f" {score.task} " in line)
        cells = [cell.strip() for cell in re.split("[│|]", line)[1:-1]]
        assert cells == [
            score.task,
            "40",
            *(f"{x:,.1f}" for x in (score.mean, score.standard_deviation, score.random, scale)),
            f"{score.human_normalised:.1f}",
        ]
    assert values["human_normalised"] == pytest.approx(
        {
            "mean": sum(normalised) / 3,
            "median": sorted(normalised)[1],
            "capped_mean": sum(min(x, 100) for x in normalised) / 3,
        }
    )
    assert "optimum-normalised over tasks: mean " in out


def test_the_same_seed_plays_the_same_episodes(toy: RunDirectory) -> None:
    def play(seed: int, greedy: bool = False, level_name: str | None = None) -> list[float]:
        scores = evaluate.evaluate(
            toy, episodes=20, greedy=greedy, seed=seed, level_name=level_name
        ).tasks
        return [score.mean for score in scores]

    first = play(1)
    assert play(1) == first
    assert play(2) != first
    # A task's episodes do not depend on which other tasks are played.
    assert play(1, level_name="catch_x10000,catch_x1") == [first[2], first[0]]

    play(1, greedy=True)
    values, table = read_results(toy.path / "evaluation-5-greedy")
    assert values["greedy"] is True
    assert len(table) == 3


def test_an_earlier_evaluation_of_the_same_checkpoint_is_kept(tmp_path: pathlib.Path) -> None:
    directory = make_run(tmp_path, "toy")
    for episodes in (1, 2, 3):
        evaluate.evaluate(directory, episodes=episodes, greedy=False, seed=1)
    for name, episodes in (("evaluation-5", 1), ("evaluation-5-2", 2), ("evaluation-5-3", 3)):
        values, table = read_results(tmp_path / name)
        assert [score["episodes"] for score in values["tasks"]] == [episodes] * 3
        assert [row["episodes"] for row in table] == [str(episodes)] * 3


def test_atari_is_compared_with_humans(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    directory = make_run(tmp_path, "pong,seaquest")
    config = directory.read_config()
    short = dataclasses.replace(config.atari, max_frames_per_episode=400)
    directory.write_config(dataclasses.replace(config, atari=short))
    scores = evaluate.evaluate(directory, episodes=1, greedy=False, seed=1, level_name="pong").tasks
    assert [(s.task, s.episodes, s.random, s.human) for s in scores] == [("pong", 1, -20.7, 14.6)]
    assert -21 <= scores[0].mean <= 0
    out = capsys.readouterr().out
    assert "human-normalised over tasks: mean " in out
    assert "optimum" not in out


def test_tasks_without_scores_to_compare_with(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    directory = make_run(tmp_path, "gym:CartPole-v1")
    (score,) = evaluate.evaluate(directory, episodes=3, greedy=False, seed=1).tasks
    assert (score.random, score.human, score.human_normalised) == (None, None, None)
    assert 8 <= score.mean <= 100
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if "│ gym:CartPole-v1" in line)
    cells = [cell.strip() for cell in line.split("│")[1:-1]]
    assert (cells[2], cells[4:]) == (f"{score.mean:,.1f}", ["-", "-", "-"])
    assert "normalised over tasks" not in out
    values, table = read_results(tmp_path / "evaluation-5")
    assert values["human_normalised"] is None
    assert values["tasks"] == [score._asdict()]
    assert (table[0]["random"], table[0]["human_normalised"]) == ("", "")


def test_a_newer_checkpoint_is_what_is_evaluated(tmp_path: pathlib.Path) -> None:
    directory = make_run(tmp_path, "toy", steps=5)
    make_run(tmp_path, "toy", steps=12)
    assert load(directory)[1].steps == 12
    evaluate.evaluate(directory, episodes=1, greedy=True, seed=1, level_name="catch_x1")
    assert (tmp_path / "evaluation-12-greedy.json").exists()


def test_other_tasks_in_the_place_of_one_of_the_run(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    directory = make_run(tmp_path, "catch_x1,catch_x10000")
    evaluation = evaluate.evaluate(
        directory,
        episodes=20,
        greedy=False,
        seed=3,
        level_name="catch_x100,catch_x1",
        play_as="catch_x10000",
    )
    foreign, own = evaluation.tasks
    assert [foreign.task, own.task] == ["catch_x100", "catch_x1"]
    assert (foreign.random, foreign.human) == (-60.0, 100.0)
    # The policy is not told the actual task: it catches as many balls as in its own.
    same = evaluate.evaluate(
        directory, episodes=20, greedy=False, seed=3, level_name="catch_x10000"
    ).tasks[0]
    assert 100 * foreign.mean == same.mean
    values, _ = read_results(tmp_path / "evaluation-5")
    assert values["played_as"] == {"catch_x100": "catch_x10000"}
    assert " catch_x100 " in capsys.readouterr().out


def test_what_cannot_be_played_as(config: RunConfig) -> None:
    with pytest.raises(ValueError, match="play_as='pong': must be a task of the run: catch_x1,"):
        select_tasks(config, "catch_x1", "pong")
    with pytest.raises(ValueError, match="noop_max: tasks of 'toy' have no such option"):
        select_tasks(config, None, None, {"noop_max": 3})
    games = dataclasses.replace(config, tasks=("pong",))
    with pytest.raises(ValueError, match="repeat_action_probability is 2.0; it must be in"):
        select_tasks(games, None, None, {"repeat_action_probability": 2.0})


def test_tasks_that_show_something_else_are_refused(toy: RunDirectory) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "launch_programs.evaluate", f"--logdir={toy.path}"]
        + ["--level_name=gym:CartPole-v1", "--play_as=catch_x1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "gym:CartPole-v1" in done.stderr


def test_other_options_than_in_training(tmp_path: pathlib.Path) -> None:
    directory = make_run(tmp_path, "pong")
    options = {"max_frames_per_episode": 80, "repeat_action_probability": 0.25}
    evaluation = evaluate.evaluate(directory, episodes=2, greedy=False, seed=1, options=options)
    assert evaluation.tasks[0].mean == 0.0  # the first point is lost later
    assert read_results(tmp_path / "evaluation-5")[0]["options"] == options
    assert read_evaluations(directory) == [evaluation]


def test_every_checkpoint(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    for steps in (5, 12):
        directory = make_run(tmp_path, "toy", steps=steps)
    evaluations = evaluate.evaluate_all(
        directory, episodes=10, greedy=True, seed=1, level_name="catch_x1,catch_x100"
    )
    assert [e.learner_steps for e in evaluations] == [5, 12]
    assert read_evaluations(directory) == evaluations[::-1]
    out = capsys.readouterr().out
    for evaluation in evaluations:
        (line,) = (x for x in out.splitlines() if x.startswith(f"│ {evaluation.frames:,} "))
        cells = [cell.strip() for cell in line.split("│")[1:-1]]
        assert cells[:3] == [
            f"{evaluation.frames:,}",
            *(f"{s.mean:,.1f}" for s in evaluation.tasks),
        ]
        middle = evaluation.interquartile_mean
        assert middle is not None
        assert cells[3] == f"{middle.mean:.1f} ({middle.low:.1f} to {middle.high:.1f})"
    for kind in ("png", "svg"):
        assert (directory.plots / f"checkpoints.{kind}").stat().st_size > 2000


def test_a_damaged_checkpoint_among_all_is_named(tmp_path: pathlib.Path) -> None:
    for steps in (5, 12):
        directory = make_run(tmp_path, "toy", steps=steps)
    for path in (directory.checkpoints / "5").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(OSError, match=r"checkpoints/5 cannot be read: "):
        evaluate.evaluate_all(directory, episodes=1, greedy=True, seed=1, level_name="catch_x1")


def test_attention_of_an_attentive_network(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    flags = ("--network=attentive", "--subnets=3")
    directory = make_run(tmp_path / "run", "catch_x1,catch_x100", *flags)
    evaluate.evaluate(directory, episodes=2, greedy=False, seed=3)
    values, _ = read_results(directory.path / "evaluation-5")
    assert list(values["attention"]) == ["catch_x1", "catch_x100"]
    for weights in values["attention"].values():
        assert len(weights) == 3
        assert sum(weights) == pytest.approx(1.0, rel=1e-5)
        assert all(0 < weight < 1 for weight in weights)
    out = capsys.readouterr().out
    assert "sub-network 2" in out
    assert f"{values['attention']['catch_x100'][0]:.3f}" in out


@pytest.mark.slow
def test_filmed_episodes_are_those_that_are_played_without(
    tmp_path: pathlib.Path,
) -> None:
    pong = make_run(tmp_path / "pong", "pong", "--max_frames_per_episode=300")
    for directory, episodes in ((make_run(tmp_path / "toy", "toy"), 20), (pong, 2)):
        plain = evaluate.evaluate(directory, episodes=episodes, greedy=False, seed=3).tasks
        filmed = evaluate.evaluate(
            directory, episodes=episodes, greedy=False, seed=3, video=True
        ).tasks
        assert filmed == plain
    assert plain[0].mean < 0


def test_videos_are_named_like_the_evaluation_and_kept(tmp_path: pathlib.Path) -> None:
    directory = make_run(tmp_path, "catch_x1,catch_x100")

    def videos(stem: str) -> dict | None:
        return read_results(tmp_path / stem)[0].get("videos")

    evaluate.evaluate(directory, episodes=1, greedy=False, seed=1, level_name="catch_x1")
    assert videos("evaluation-5") is None
    evaluate.evaluate(
        directory, episodes=1, greedy=False, seed=1, level_name="catch_x100", video=True
    )
    first = {"catch_x100": {k: f"videos/catch_x100-5-2.{k}" for k in ("mp4", "gif")}}
    assert videos("evaluation-5-2") == first
    before = {p.name: p.read_bytes() for p in directory.videos.iterdir()}
    assert sorted(before) == ["catch_x100-5-2.gif", "catch_x100-5-2.mp4"]

    # The video of an unfinished evaluation is not overwritten either.
    (directory.videos / "catch_x1-5-3.partial.mp4").write_text("of another program")
    evaluate.evaluate(directory, episodes=1, greedy=False, seed=2, video=True)
    assert videos("evaluation-5-4") == {
        task: {k: f"videos/{task}-5-4.{k}" for k in ("mp4", "gif")}
        for task in ("catch_x1", "catch_x100")
    }
    for name, data in before.items():
        assert (directory.videos / name).read_bytes() == data
    for task in ("catch_x1", "catch_x100"):
        assert (directory.videos / f"{task}-5-4.mp4").stat().st_size > 1000


ENDLESS = """
import time

import environments
import numpy as np
from dm_env import restart, transition


class Endless(environments.Catch):
    def reset(self):
        return restart(super().reset().observation)

    def step(self, action):
        return transition(0.5, super().step(action).observation)

class Failing(environments.Catch):
    def step(self, action):
        raise RuntimeError("lost the simulator")

def make(seed):
    return Endless(seed=seed)

def failing(seed):
    return Failing(seed=seed)
"""


@pytest.fixture
def endless(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    """The directory of the module `endless_env`, whose tasks do not end."""
    (tmp_path / "endless_env.py").write_text(ENDLESS)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("endless_env", None)


def test_episodes_without_an_end(endless: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    directory = make_run(endless / "run", "dm_env:endless_env:make", "--evaluation_max_frames=30")
    (score,) = evaluate.evaluate(directory, episodes=2, greedy=False, seed=1).tasks
    assert (score.mean, score.cut_off) == (15.0, 2)
    out = capsys.readouterr().out
    for episode in (1, 2):
        line = f"  dm_env:endless_env:make: episode {episode} of 2, return 15.0, cut off ("
        assert line in out
    assert "2 of 2 episodes were cut off after 30 frames (--evaluation_max_frames)" in out
    assert read_results(directory.path / "evaluation-5")[0]["tasks"][0]["cut_off"] == 2
    (score,) = evaluate.evaluate(directory, episodes=1, greedy=False, seed=1, max_frames=7).tasks
    assert score.mean == 3.5


def test_a_brief_evaluation_says_now_and_then_how_a_long_episode_goes(
    endless: pathlib.Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "_BRIEF_SECONDS", 0.0)
    directory = make_run(endless / "run", "dm_env:endless_env:make", "--evaluation_max_frames=3")
    evaluate.evaluate(directory, episodes=1, greedy=False, seed=1, brief=True)
    lines = [line for line in capsys.readouterr().out.splitlines() if "episode 1 of 1" in line]
    assert [line.partition(", ")[2].partition(" (")[0] for line in lines] == [
        "1 frames, return 0.5",
        "2 frames, return 1.0",
        "return 1.5, cut off",
    ]


def test_whole_episodes_are_not_cut_off(toy: RunDirectory, capsys: pytest.CaptureFixture) -> None:
    """The last step of a game may fall exactly on the limit."""
    scores = evaluate.evaluate(
        toy, episodes=2, greedy=False, seed=3, level_name="catch_x1", max_frames=9
    ).tasks
    assert scores[0].cut_off == 0
    assert "cut off" not in capsys.readouterr().out


def test_an_environment_that_fails_in_an_evaluation(endless: pathlib.Path) -> None:
    directory = make_run(endless / "run", "dm_env:endless_env:failing")
    with pytest.raises(EnvironmentRaised) as error:
        evaluate.evaluate(directory, episodes=2, greedy=False, seed=1)
    assert str(error.value) == (
        "task 'dm_env:endless_env:failing': RuntimeError: lost the simulator"
    )


def test_a_task_that_fails_costs_no_other_tasks_scores(
    endless: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    directory = make_run(
        endless / "run",
        "dm_env:endless_env:make,dm_env:endless_env:failing",
        "--evaluation_max_frames=30",
    )
    with pytest.raises(EnvironmentRaised):
        evaluate.evaluate(directory, episodes=1, greedy=False, seed=1)
    _, _, table = capsys.readouterr().out.partition("The tasks that were played until then:\n")
    assert "dm_env:endless_env:make" in table
    assert "15.0" in table
    assert not list(directory.path.glob("evaluation-*"))


def test_a_video_that_the_disk_does_not_take_costs_no_scores(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    directory = make_run(tmp_path, "catch_x1,catch_x100")
    with full_beyond(2000):
        evaluate.evaluate(directory, episodes=2, greedy=False, seed=1, video=True)
    values, rows = read_results(tmp_path / "evaluation-5")
    assert [row["episodes"] for row in rows] == ["2", "2"]
    assert values.get("videos") is None
    assert "catch_x1: not filmed, and played again: ffmpeg failed" in capsys.readouterr().out


def test_an_interrupt_is_one_line(endless: pathlib.Path) -> None:
    directory = make_run(endless / "run", "dm_env:endless_env:make")
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "launch_programs.evaluate", f"--logdir={directory.path}"),
            *("--evaluation_max_frames=50", "--test_num_episodes=1000000"),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(endless)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert any("episode 3 of 1000000" in line for line in program.stdout)
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=60)
    assert (program.returncode, errors) == (130, "Interrupted.\n")


def test_a_video_without_pictures(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pygame", None)
    directory = make_run(tmp_path, "gym:CartPole-v1")
    evaluate.evaluate(directory, episodes=1, greedy=True, seed=1, video=True)
    out = capsys.readouterr().out
    assert (
        "gym:CartPole-v1: no pictures of the environment; the video has the panel alone: "
        "DependencyNotInstalled: pygame is not installed, run " in out
    )
    assert sorted(p.name for p in directory.videos.iterdir()) == [
        "gym_CartPole-v1-5-greedy.gif",
        "gym_CartPole-v1-5-greedy.mp4",
    ]
