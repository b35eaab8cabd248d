"""Smoothing, groups of seeds, mean and spread, compared with plain loops."""

import pathlib

import numpy as np
import pytest

from environments import TASKS
from launch_programs.run.history import Episodes, History, read_history
from launch_programs.run.metrics import Row
from launch_programs.views import curves
from tests.launch_programs.rows import episode, learned
from tests.launch_programs.runs import make_tables


def history(path: pathlib.Path, *flags: str, level: str = "catch_x1") -> History:
    make_tables(path, level, *flags)
    return read_history(path)


def random_episodes(number: int, frames: int, seed: int = 0) -> Episodes:
    random = np.random.default_rng(seed)
    return Episodes(
        time=np.arange(number, dtype=float),
        frames=np.sort(random.integers(0, frames, number)),
        returns=1e4 * random.normal(size=number),
        lengths=np.full(number, 9),
    )


@pytest.mark.parametrize(("number", "window"), [(0, 3), (1, 3), (40, 1), (300, 7), (300, 1000)])
def test_recent_mean_is_a_plain_loops(number: int, window: int) -> None:
    episodes = random_episodes(number, 10_000)
    at = np.linspace(0, 10_000, 26)[1:]
    expected = []
    before = 0
    for x in at:
        ended = [r for r, f in zip(episodes.returns, episodes.frames, strict=True) if f <= x]
        taken = ended[-max(window, len(ended) - before) :]
        expected.append(sum(taken) / len(taken) if taken else np.nan)
        before = len(ended)
    np.testing.assert_allclose(curves.recent_mean(episodes, window, at), expected, rtol=1e-9)


def test_no_episode_is_left_out_between_points() -> None:
    """Means at 50 points with 40 new episodes each, although a window has only one."""
    episodes = random_episodes(2_000, 10_000)
    at = np.linspace(0, 10_000, 51)[1:]
    counts = np.histogram(episodes.frames, np.concatenate([[-1], at + 0.5]))[0]
    assert counts.min() > 1
    means = curves.recent_mean(episodes, 1, at)
    assert (means * counts).sum() == pytest.approx(episodes.returns.sum())


def test_groups_are_runs_that_learn_the_same(tmp_path: pathlib.Path) -> None:
    runs = [
        history(tmp_path / "a", "--seed=1"),
        history(tmp_path / "b", "--seed=1", "--nopopart"),
        history(tmp_path / "c", "--seed=2", "--num_actors=1", "--log_interval=1"),
        history(tmp_path / "d", "--seed=7", "--nopopart", "--evaluation_interval=0"),
    ]
    groups = curves.group(runs)
    assert [(g.label, [h.path.name for h in g.runs]) for g in groups] == [
        ("popart=True", ["a", "c"]),
        ("popart=False", ["b", "d"]),
    ]
    assert [g.label for g in curves.group(runs[:1])] == [""]
    assert [g.label for g in curves.group([runs[0], runs[2]])] == [""]


def test_two_groups_are_named_by_all_that_differs(tmp_path: pathlib.Path) -> None:
    groups = curves.group(
        [
            history(tmp_path / "a", "--learning_rate=0.01"),
            history(tmp_path / "b", "--total_environment_frames=1000000", level="toy"),
        ]
    )
    assert [g.label for g in groups] == [
        "tasks=catch_x1, learning_rate=0.01, total_environment_frames=12,000,000",
        "tasks=toy, learning_rate=0.001, total_environment_frames=1,000,000",
    ]


def test_more_groups_are_named_by_what_is_their_own(tmp_path: pathlib.Path) -> None:
    flags = {
        "a": (),
        "b": ("--learning_rate=0.01",),
        "c": ("--hidden_size=64",),
        "d": ("--hidden_size=64", "--nopopart"),
        "e": (),  # the same as a
    }
    groups = curves.group([history(tmp_path / name, *own) for name, own in flags.items()])
    assert [(g.label, len(g.runs)) for g in groups] == [
        ("hidden_size=256", 2),  # as frequent as 64
        ("hidden_size=256, learning_rate=0.01", 1),
        ("hidden_size=64", 1),
        ("hidden_size=64, popart=False", 1),
    ]
    groups = curves.group([history(tmp_path / f"{name}2", *flags[name]) for name in "abc"])
    assert [g.label for g in groups] == [
        "hidden_size=256, learning_rate=0.001",  # it has no value of its own
        "learning_rate=0.01",
        "hidden_size=64",
    ]


def test_mean_and_spread_over_runs(tmp_path: pathlib.Path) -> None:
    """Three runs with known returns; the mean ends where the shortest does."""
    ends = (4_000, 4_000, 2_000)
    for number, end in enumerate(ends):
        rows: list[Row] = [
            episode(float(f), f, "catch_x1", number * f) for f in range(0, end + 1, 100)
        ]
        make_tables(tmp_path / str(number), "catch_x1", actors=rows)
    runs = [read_history(tmp_path / str(number)) for number in range(3)]
    at = curves.grid(runs)
    assert at[0] > 0
    assert at[-1] == 4_000
    band = curves.band(runs, lambda h: curves.task_curve(h, "catch_x1", 1, at))
    last = np.floor(at / 100) * 100  # frames of the last episode
    short = at <= 2_000
    np.testing.assert_allclose(band.mean[short], last[short])  # mean of 0, 1 and 2 times frames
    np.testing.assert_allclose(band.low[short], 0)
    np.testing.assert_allclose(band.high[short], 2 * last[short])
    for curve in band:
        assert np.isnan(curve[~short]).all()


def test_a_task_that_a_run_does_not_have(tmp_path: pathlib.Path) -> None:
    run = history(tmp_path / "a")
    at = np.array([1.0, 2.0])
    assert np.isnan(curves.task_curve(run, "pong", 100, at)).all()
    assert np.isnan(curves.column_curve(run, "mu/pong", at)).all()


def test_normalised_by_random_and_human_play(tmp_path: pathlib.Path) -> None:
    rows = [
        episode(1.0, 100, "pong", TASKS["pong"].random_score or 0),
        episode(2.0, 100, "seaquest", TASKS["seaquest"].human_score or 0),
        episode(3.0, 200, "pong", 20.0),
    ]
    make_tables(tmp_path, "pong,seaquest", actors=rows)
    found = curves.normalised_curves(read_history(tmp_path), 1, np.array([50.0, 100.0, 200.0]))
    assert found is not None
    pong = 100 * (20.0 - -20.7) / (14.6 - -20.7)  # scores from the README's table
    np.testing.assert_allclose(found, [[np.nan, 0, pong], [np.nan, 100, 100]], rtol=1e-6)


def test_tasks_without_scores_are_not_normalised(tmp_path: pathlib.Path) -> None:
    run = history(tmp_path / "a", level="gym:CartPole-v1")
    assert curves.normalised_curves(run, 100, np.array([1.0])) is None


def test_what_the_learner_logs_is_interpolated(tmp_path: pathlib.Path) -> None:
    rows = [learned(1.0, 1_000, entropy=2.0), learned(2.0, 3_000, entropy=1.0)]
    make_tables(tmp_path, "catch_x1", learner=rows)
    found = curves.column_curve(
        read_history(tmp_path), "entropy", np.array([500.0, 1_000.0, 1_500.0, 3_000.0, 4_000.0])
    )
    np.testing.assert_allclose(found, [np.nan, 2.0, 1.75, 1.0, np.nan])
