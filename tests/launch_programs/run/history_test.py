"""A run's tables as arrays."""

import pathlib
from typing import Any

import numpy as np
import pytest

from launch_programs.run.history import read_history
from launch_programs.run.metrics import Row
from tests.launch_programs.rows import episode, learned
from tests.launch_programs.runs import make_tables


def test_tables_become_arrays(tmp_path: pathlib.Path) -> None:
    directory = make_tables(
        tmp_path,
        "catch_x1,catch_x100",
        learner=[
            learned(2.5, 640, entropy=1.5, skipped_updates=0),
            learned(4.5, 1280, entropy=float("nan"), skipped_updates=2),
        ],
        actors=[
            episode(1.0, 0, "catch_x100", -100.0),
            episode(2.0, 0, "catch_x1", 1.0),
            episode(3.0, 640, "catch_x100", 100.0),
        ],
    )
    history = read_history(directory.path)
    assert history.path == tmp_path
    assert history.config == directory.read_config()
    assert history.frames == 1280
    assert list(history.learner) == [
        "time",
        "learner_steps",
        "frames",
        "entropy",
        "skipped_updates",
    ]
    np.testing.assert_array_equal(history.learner["entropy"], [1.5, np.nan])
    for name in ("learner_steps", "frames", "skipped_updates"):
        assert history.learner[name].dtype == np.int64
    np.testing.assert_array_equal(history.learner["skipped_updates"], [0, 2])
    assert list(history.actors) == ["catch_x1", "catch_x100"]
    scaled = history.actors["catch_x100"]
    assert len(scaled) == 2
    for found, expected, dtype in (
        (scaled.time, [1.0, 3.0], np.float64),
        (scaled.frames, [0, 640], np.int64),
        (scaled.returns, [-100.0, 100.0], np.float64),
        (scaled.lengths, [9, 9], np.int64),
    ):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)
    # The evaluator has not played yet.
    assert [len(episodes) for episodes in history.evaluator.values()] == [0, 0]


@pytest.mark.parametrize("half", ["", "1.5,64", "time,fra"])
def test_a_run_that_has_just_begun(half: str, tmp_path: pathlib.Path) -> None:
    directory = make_tables(tmp_path, "catch_x1")
    if half:
        (tmp_path / "actors.csv").write_text(half)
    history = read_history(directory.path)
    assert history.frames == 0
    assert history.learner == {}
    assert len(history.actors["catch_x1"]) == 0


def test_a_half_row_is_not_there_yet(tmp_path: pathlib.Path) -> None:
    row = episode(1.0, 640, "catch_x1", 1.0)
    make_tables(tmp_path, "catch_x1", actors=[row, row], learner=[learned(1.0, 640, loss=1.0)])
    with (tmp_path / "actors.csv").open("a") as file:
        file.write('2.0,1280,0,"catch')
    with (tmp_path / "learner.csv").open("a") as file:
        file.write("2.0,2,12")
    history = read_history(tmp_path)
    assert len(history.actors["catch_x1"]) == 2
    assert history.frames == 640


def resumed_run(seed: int) -> tuple[dict[str, list[Row]], dict[str, list[Row]]]:
    """Rows of a run that is killed and resumed several times, and the rows that count."""
    random = np.random.default_rng(seed)
    frames, time = 0, 0.0
    rows: list[tuple[str, Row]] = []
    checkpoints = [0]
    for _ in range(random.integers(1, 6)):
        for _ in range(random.integers(30, 200)):
            time += 0.25
            rows.append(("actors", episode(time, frames, "catch_x1", random.normal())))
            if random.random() < 0.1:
                time += 0.25
                rows.append(("evaluator", episode(time, frames, "catch_x1", random.normal())))
            frames += 640
            if random.random() < 0.2:
                time += 0.25
                rows.append(("learner", learned(time, frames, loss=random.normal())))
            if random.random() < 0.05:
                checkpoints.append(frames)
        # Resumed from the newest checkpoint or, if that is damaged, from the one before.
        del checkpoints[max(1, len(checkpoints) - random.integers(0, 2)) :]
        frames = checkpoints[-1]
        time += 60.0
    tables: dict[str, list[Row]] = {"learner": [], "actors": [], "evaluator": []}
    kept: dict[str, list[Row]] = {"learner": [], "actors": [], "evaluator": []}
    for i, (table, row) in enumerate(rows):
        tables[table].append(row)
        # By definition: no row that was written later has fewer frames.
        if all(later["frames"] >= row["frames"] for _, later in rows[i + 1 :]):  # type: ignore[operator]
            kept[table].append(row)
    return tables, kept


@pytest.mark.parametrize("seed", range(6))
def test_rows_that_a_resumed_run_made_again_are_left_out(seed: int, tmp_path: pathlib.Path) -> None:
    tables, kept = resumed_run(seed)
    make_tables(tmp_path, "catch_x1", **tables)
    history = read_history(tmp_path)

    def values(table: str, name: str) -> list[Any]:
        return [row[name] for row in kept[table]]

    assert len(kept["actors"]) > 20
    for table, episodes in (("actors", history.actors), ("evaluator", history.evaluator)):
        assert episodes["catch_x1"].returns.tolist() == values(table, "episode_return")
        assert np.all(np.diff(episodes["catch_x1"].frames) >= 0)
    assert history.learner["loss"].tolist() == values("learner", "loss")
    assert np.all(np.diff(history.learner["frames"]) > 0)


def test_something_is_left_out_at_all() -> None:
    tables, kept = resumed_run(0)
    for name in tables:
        assert len(kept[name]) < len(tables[name])


def test_a_clock_that_was_set_back_loses_no_row(tmp_path: pathlib.Path) -> None:
    rows = [episode(100.0 - i, 640 * i, "catch_x1", 1.0 * i) for i in range(10)]
    make_tables(tmp_path, "catch_x1", actors=rows)
    assert read_history(tmp_path).actors["catch_x1"].returns.tolist() == list(range(10))


HEADER = "time,frames,actor,task,episode_return,episode_length\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("when,frames\n1,2\n", "it has no column 'time'"),
        (HEADER + "1.0,0,0,catch_x1,1.0\n", "the dtype passed requires 6 columns but 5 were found"),
        (HEADER + "1.0,0,0,catch_x1,high,9\n", "could not convert string 'high' to float64"),
        (HEADER + "1.0,0,0,pong,1.0,9\n", "no such column or task: 'pong'"),
        ("time,frames,task\n1.0,0,catch_x1\n", "no such column or task: "),
    ],
)
def test_a_damaged_table_is_named(text: str, message: str, tmp_path: pathlib.Path) -> None:
    make_tables(tmp_path, "catch_x1")
    (tmp_path / "actors.csv").write_text(text)
    with pytest.raises(ValueError, match=f"^{tmp_path}/actors.csv is damaged: {message}"):
        read_history(tmp_path)


def test_not_a_run(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="is not a run directory: it has no config.json"):
        read_history(tmp_path)


@pytest.mark.parametrize("last", [1, 100, 1_000, 2_000, 10**6])
def test_the_end_of_a_table_is_the_end_of_the_whole(last: int, tmp_path: pathlib.Path) -> None:
    rows = [episode(float(i), 640 * i, "catch_x1", 1.0 * i) for i in range(100)]
    make_tables(tmp_path, "catch_x1", actors=rows)
    table = tmp_path / "actors.csv"
    whole = read_history(tmp_path).actors["catch_x1"].returns
    end = read_history(tmp_path, last=last).actors["catch_x1"].returns
    assert end.tolist() == whole[len(whole) - len(end) :].tolist()
    # All rows but the one that is cut in two; a row has at most 36 bytes.
    assert len(end) >= min(100, last // 36 - 1)
    assert (len(end) == 100) == (last >= table.stat().st_size)
