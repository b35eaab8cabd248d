"""The benchmark on games: its list of runs, their curves, aggregates, figures, stopping."""

import dataclasses
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from rliable import metrics

from benchmarks import atari, atari_plot, atari_report
from benchmarks.atari_curves import (
    Record,
    lowest,
    mean_returns,
    read_record,
    result,
    training_minutes,
)
from benchmarks.atari_runs import CONFIGURATIONS, EXPERIMENTS, Experiment, Run, all_runs
from benchmarks.atari_statistics import interquartile_mean
from benchmarks.peers import environment, records
from environments import SUITES, parse_level_name
from launch_programs.run.history import Episodes
from launch_programs.run.metrics import CSVTable, read_rows
from tests.integration.programs import ROOT
from tests.launch_programs.command_lines import refused
from tests.launch_programs.rows import episode, learned

RUN = Run("default", "pong", 1, None, 2.0)


def start(*flags: str, experiment: str = "") -> subprocess.Popen[str]:
    """Starts the program; `experiment` is Python code that changes the list."""
    code = (
        f"import runpy\nfrom benchmarks import atari_runs as runs\n{experiment}\n"
        "runpy.run_module('benchmarks.atari', run_name='__main__', alter_sys=True)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *flags],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# The list.


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_can_be_run(name: str) -> None:
    experiment = EXPERIMENTS[name]
    runs = experiment.runs()
    assert len({run.name for run in runs}) == len(runs)
    assert {run.seed for run in runs[: len(runs) // experiment.seeds]} == {1}  # others come later
    for configuration in experiment.configurations:
        assert CONFIGURATIONS[configuration].program in ("train", *environment.PEERS)
    for peer in environment.PEERS:
        for ending in ("py", "txt"):
            assert (ROOT / "benchmarks" / "peers" / f"{peer}.{ending}").exists()


def test_a_run_that_two_experiments_ask_for_is_one_run() -> None:
    one = Experiment("one", ("default", "clipped"), ("pong",), 2, frames=100)
    other = Experiment("other", ("default",), ("pong", "seaquest"), 1, frames=100)
    longer = Experiment("longer", ("default",), ("pong",), 1, frames=200)
    runs = all_runs([one, other, longer])
    assert [run.name for run in runs] == [
        "default-pong-100frames-seed1",
        "clipped-pong-100frames-seed1",
        "default-pong-100frames-seed2",
        "clipped-pong-100frames-seed2",
        "default-seaquest-100frames-seed1",
        "default-pong-200frames-seed1",
    ]


def test_a_peer_may_have_minutes_where_the_agent_has_frames() -> None:
    mixed = Experiment("mixed", ("default", "sb3_ppo"), ("pong",), 1, frames=100, peer_minutes=30)
    assert [run.name for run in mixed.runs()] == [
        "default-pong-100frames-seed1",
        "sb3_ppo-pong-30minutes-seed1",
    ]
    short = dataclasses.replace(mixed, peer_minutes=None)  # as with --frames
    assert {run.frames for run in short.runs()} == {100}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"minutes": 1.0}, "either frames or minutes"),
        ({"frames": None}, "either frames or minutes"),
        ({"frames": -1}, "must be more than 0"),
        ({"seeds": 0}, "a seed"),
        ({"level_names": ()}, "a level name"),
        ({"configurations": ("defualt",)}, "no configuration is called 'defualt'"),
    ],
)
def test_a_wrong_experiment_is_refused(change: dict[str, Any], message: str) -> None:
    right: dict[str, Any] = {"configurations": ("default",), "level_names": ("pong",)}
    right |= {"seeds": 1, "frames": 100}
    Experiment("right", **right)
    with pytest.raises(ValueError, match=message):
        Experiment("wrong", **{**right, **change})


def test_peers_pin_every_package() -> None:
    for peer in environment.PEERS:
        lines = (ROOT / "benchmarks" / "peers" / f"{peer}.txt").read_text().splitlines()
        packages = [line for line in lines if not line.startswith("#")]
        assert packages
        assert all("==" in line and "+" not in line and "@" not in line for line in packages)


# Curves.


def episodes(frames: Sequence[int], returns: Sequence[float]) -> Episodes:
    zeros = np.zeros(len(frames))
    return Episodes(zeros, np.array(frames, np.int64), np.array(returns, float), zeros.astype(int))


def test_minutes_are_those_between_rows_of_one_start() -> None:
    times = np.array([100.0, 160.0, 220.0, 1000.0, 990.0, 1030.0, 5000.0])
    minutes = training_minutes(times, [90.0, 900.0, 4000.0])
    np.testing.assert_allclose(minutes * 60, [0, 60, 120, 120, 120, 160, 160])


def test_a_score_is_the_mean_of_the_last_hundred() -> None:
    rising = episodes([10 * i for i in range(1, 251)], list(range(250)))
    at = np.array([5, 10, 1000, 1009, 2500])
    expected = [math.nan, 0.0, 49.5, 49.5, 199.5]
    np.testing.assert_allclose(mean_returns(rising, at), expected)


def test_the_lowest_score_counts_what_was_so_when_the_start_was_over() -> None:
    early = episodes([100_000, 250_000, 400_000], [-5.0, 1.0, 9.0])
    assert lowest(early, 500_000) == pytest.approx(-2.0)  # the mean as of 300,000
    assert math.isnan(lowest(early, 299_999))
    late = episodes([350_000, 400_000, 450_000], [8.0, 2.0, -99.0])
    assert lowest(late, 420_000) == pytest.approx(5.0)  # anything after the end does not count
    assert math.isnan(lowest(episodes([], []), 500_000))


def test_a_runs_result_ends_at_its_minutes_and_leaves_out_what_was_lost(
    tmp_path: pathlib.Path,
) -> None:
    more = {"policy_lag_mean": 2.0, "waiting_share": 0.5}
    # Killed at 90,000 frames, resumed from 40,000 an hour later.
    rows = [learned(1000.0 + 30 * i, 10_000 * i, **more) for i in range(10)]
    rows += [learned(4600.0 + 30 * i, 40_000 + 10_000 * i, **more) for i in range(5)]
    CSVTable(tmp_path / "learner.csv").append(rows)
    games = [episode(1010.0, 5_000, "pong", -21.0), episode(1250.0, 85_000, "pong", 21.0)]
    games += [episode(4605.0, 41_000, "pong", -19.0), episode(4690.0, 70_000, "pong", 7.0)]
    CSVTable(tmp_path / "actors.csv").append(games)
    record = read_record(RUN, tmp_path, [990.0, 4500.0])
    # Two minutes until 40,000 frames, then half a minute per 10,000.
    assert record.is_enough()
    assert record.end == 40_000
    kept = result(record, finished=True, commit="abc")
    json.dumps(kept, allow_nan=False)
    assert (kept["starts"], kept["finished"], kept["program"]) == (2, True, "train")
    assert kept["end"]["scores"] == {"pong": -21.0}
    assert kept["end"]["frames_per_second"] == pytest.approx(40_000 / 120, abs=1e-3)
    assert (kept["end"]["policy_lag"], kept["end"]["waiting_share"]) == (2.0, 0.5)
    assert kept["end"]["lowest"] == {"pong": None}
    assert len(kept["curve"]["frames"]) == len(kept["curve"]["scores"]["pong"]) == 200
    assert kept["curve"]["frames"][-1] == 40_000
    assert kept["curve"]["minutes"][-1] == 2.0
    longer = read_record(Run("default", "pong", 1, None, 5.0), tmp_path, [990.0, 4500.0])
    assert not longer.is_enough()
    assert longer.end == 80_000
    assert result(longer, finished=False, commit=None)["end"]["scores"] == {"pong": -11.0}


def test_a_run_that_has_only_begun_has_a_result() -> None:
    record = read_record(RUN, pathlib.Path("no such directory"), [])
    kept = result(record, finished=False, commit=None)
    json.dumps(kept, allow_nan=False)
    assert kept["end"]["frames"] == 0
    assert kept["end"]["scores"] == {"pong": None}


def test_a_peers_tables_are_read_like_a_runs(tmp_path: pathlib.Path) -> None:
    tables = records.Records(tmp_path, "pong")
    tables.progress(0, 0.0)
    tables.game(800, -20.0, 900)
    with (tmp_path / "actors.csv").open("a") as file:
        file.write("1,2,po")  # killed while writing
    tables = records.Records(tmp_path, "pong")
    tables.progress(4_000, math.nan)
    tables.game(4_100, -18.0, 900)
    record = read_record(RUN, tmp_path, [0.0])
    assert isinstance(record, Record)
    assert record.end == 4_100
    np.testing.assert_array_equal(record.episodes["pong"].returns, [-20.0, -18.0])
    assert all(
        parse_level_name(records.gym_name(name))[0].name == name for name in SUITES["atari57"]
    )


# Aggregates.


def test_the_interquartile_mean_and_its_interval() -> None:
    """Against the definition, computed without rliable."""
    chance = np.random.default_rng(1)
    scores = chance.normal(size=(8, 3)) * [1.0, 10.0, 3.0] + [0.0, 50.0, -4.0]

    def middle_half(values: np.ndarray) -> float:
        ordered = np.sort(values, axis=None)
        return float(ordered[len(ordered) // 4 : len(ordered) - len(ordered) // 4].mean())

    estimate = interquartile_mean(scores[..., np.newaxis])
    assert estimate.iqm[0] == pytest.approx(middle_half(scores))
    assert estimate.iqm[0] == metrics.aggregate_iqm(scores)
    resampled = [
        middle_half(np.stack([chance.choice(column, 8) for column in scores.T]))
        for _ in range(10_000)
    ]
    expected = np.percentile(resampled, [2.5, 97.5])
    width = expected[1] - expected[0]
    np.testing.assert_allclose([estimate.low[0], estimate.high[0]], expected, atol=0.08 * width)


def test_the_same_scores_give_the_same_interval_and_leave_the_generator_alone() -> None:
    scores = np.random.default_rng(2).normal(size=(4, 2, 3))
    np.random.seed(7)
    expected = np.random.random()
    np.random.seed(7)
    first = interquartile_mean(scores)
    assert np.random.random() == expected
    for one, other in zip(first, interquartile_mean(scores), strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_run_has_no_interval() -> None:
    estimate = interquartile_mean(np.array([[[3.0]]]))
    assert estimate.iqm[0] == 3.0
    assert math.isnan(estimate.low[0])


# Table and figures, from made-up curves.


def made_up(run: Run, final: float, *, finished: bool = True) -> dict[str, Any]:
    frames = np.arange(1, 51) * 10_000
    minutes = frames / 50_000
    record = Record(
        run,
        1,
        frames,
        minutes,
        np.full(50, 2.0),
        np.full(50, 0.25),
        {
            task.name: episodes([int(f) for f in frames], [final] * 50)
            for task in parse_level_name(run.level_name)
        },
    )
    return result(record, finished=finished, commit="abc")


def write(output: pathlib.Path, experiment: Experiment, finals: dict[str, Sequence[float]]) -> None:
    for run in experiment.runs():
        final = finals[run.configuration][run.seed - 1]
        if not math.isnan(final):
            path = atari_report.result_path(output, run)
            path.write_text(json.dumps(made_up(run, final)))


def test_the_report(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = Experiment(
        "Made up", ("default", "clipped"), ("pong,seaquest",), 3, minutes=10.0, moments=(4.0,)
    )
    write(tmp_path, experiment, {"default": (1.0, 2.0, 9.0), "clipped": (5.0, math.nan, math.nan)})
    unfinished = made_up(experiment.runs()[3], 7.0, finished=False)
    atari_report.result_path(tmp_path, experiment.runs()[3]).write_text(json.dumps(unfinished))
    atari_report.report(tmp_path, {"made_up": experiment})
    lines = (tmp_path / "table.md").read_text().splitlines()
    start = "| made_up | pong,seaquest | default | pong | end | 3 of 3 | 2.00 | 4.00 | "
    (line,) = [line for line in lines if line.startswith(start)]
    assert line.endswith(" | 1.00 | 500,000 | 10.00 | 817 | 2.00 | 25 % |")
    assert any("| default | all, % | end | 3 of 3 | " in line for line in lines)
    assert any("| default | pong | 4 min | 3 of 3 | 2.00 | 4.00 | " in line for line in lines)
    assert any("| clipped | pong | end | 1 of 3 | 5.00 | 5.00 | - | " in line for line in lines)
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 1 + 2 * 2 * 3
    for axis in ("frames", "minutes"):
        assert (tmp_path / f"made_up-{axis}.png").read_bytes().startswith(b"\x89PNG")
    assert "817" in capsys.readouterr().out


def test_curves_of_runs_are_drawn_as_far_as_all_are() -> None:
    curves = [
        {"minutes": [1, 2, 3], "scores": {"pong": [None, 4.0, 6.0]}},
        {"minutes": [1, 3, 5], "scores": {"pong": [0.0, 10.0, 20.0]}},
    ]
    points, values = atari_plot.aligned(curves, "pong", "minutes")
    assert (points[0], points[-1]) == (2.0, 3.0)
    np.testing.assert_allclose(values[:, 0], [4.0, 5.0])
    np.testing.assert_allclose(values[:, -1], [6.0, 10.0])
    nothing = {"minutes": [1], "scores": {"pong": [None]}}
    assert not len(atari_plot.aligned([*curves, nothing], "pong", "minutes")[0])


def test_a_result_of_other_settings_is_not_taken_for_the_lists(tmp_path: pathlib.Path) -> None:
    path = atari_report.result_path(tmp_path, RUN)
    assert atari_report.read_result(tmp_path, RUN) is None
    path.write_text(json.dumps({**made_up(RUN, 1.0), "flags": ["--learning_rate=1"]}))
    with pytest.raises(ValueError, match="is of train --learning_rate=1, but .*'default'"):
        atari_report.read_result(tmp_path, RUN)
    path.write_text('{"finished": tr')
    with pytest.raises(ValueError, match="is damaged"):
        atari_report.read_result(tmp_path, RUN)


# The program.


@pytest.mark.parametrize(
    "flags, changed, message",
    [
        (["--experiment=pong", "surplus"], {}, "unexpected argument 'surplus'"),
        (["--experiment=bad"], {"level_names": ("pnog",)}, "pnog"),
        (
            ["--experiment=bad"],
            {"configurations": ("sb3_ppo",), "level_names": ("atari3",)},
            "experiment='bad': sb3_ppo plays one Atari game at a time, not 'atari3'",
        ),
    ],
)
def test_bad_input_is_one_line(
    flags: list[str],
    changed: dict[str, Any],
    message: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad: dict[str, Any] = {"configurations": ("default",), "level_names": ("pong",)}
    bad |= changed
    monkeypatch.setitem(EXPERIMENTS, "bad", Experiment("Bad", **bad, seeds=1, frames=9))
    runs, output = tmp_path / "runs", tmp_path / "out"
    error = refused(atari, capsys, f"--runs={runs}", f"--output={output}", *flags)
    assert message in error
    assert not runs.exists()


@pytest.mark.by_hand  # starts programs four times
@pytest.mark.timeout(900)
def test_a_run_is_stopped_killed_and_finished(tmp_path: pathlib.Path) -> None:
    """The same command is repeated each time, until nothing is left to do."""
    toy = (
        "runs.EXPERIMENTS['toy'] = runs.Experiment('Toy', ('default',), ('toy',), 1, minutes=0.2)\n"
        "runs.CONFIGURATIONS['default'] = runs.Configuration(('--checkpoint_interval=2',"
        " '--evaluation_interval=0', '--num_actors=1'))"
    )
    runs, output = tmp_path / "runs", tmp_path / "out"
    flags = ("--experiment=toy", f"--runs={runs}", f"--output={output}")
    directory = runs / "default-toy-0.2minutes-seed1"
    kept = output / "default-toy-0.2minutes-seed1.json"
    table = directory / "run" / "learner.csv"

    program = start(*flags, experiment=toy)
    wait(lambda: len(read_rows(table)) >= 3, program)
    program.send_signal(signal.SIGTERM)
    out, _ = program.communicate(timeout=200)
    assert program.returncode == 130, out
    assert json.loads(kept.read_text())["finished"] is False
    stopped = int(read_rows(table)[-1]["frames"])

    program = start(*flags, experiment=toy)
    rows = len(read_rows(table))
    wait(lambda: len(read_rows(table)) >= rows + 3, program)
    program.kill()
    program.communicate(timeout=200)
    assert int(read_rows(table)[rows]["frames"]) >= stopped - 200_000  # not from the beginning

    program = start(*flags, experiment=toy)  # waits for the killed one's training to save and end
    out, errors = program.communicate(timeout=400)
    assert program.returncode == 0, out + errors
    end = json.loads(kept.read_text())
    assert end["finished"] is True
    assert end["starts"] == 3
    assert end["end"]["minutes"] == pytest.approx(0.2, abs=0.01)
    assert set(end["end"]["scores"]) == set(SUITES["toy"])
    assert (output / "toy-minutes.png").exists()

    program = start(*flags, experiment=toy)
    out, errors = program.communicate(timeout=200)
    assert program.returncode == 0, out + errors
    assert len((directory / "starts").read_text().split()) == 3


def wait(condition: Any, program: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 280
    while not condition():
        assert program.poll() is None, program.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_program_ends_with_the_one_that_started_it(tmp_path: pathlib.Path) -> None:
    """Even if the parent is killed; the child gets SIGTERM, which it can act on."""
    child = "import signal, sys, time; print('ready', flush=True); time.sleep(60)"
    parent = (
        "import os, subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-m', 'benchmarks.until_parent_ends', "
        f"str(os.getpid()), sys.executable, '-c', {child!r}]).wait()"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", parent], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    os.kill(program.pid, signal.SIGKILL)
    assert program.stdout.read() == ""  # the end of the child closes the pipe
    program.wait()
