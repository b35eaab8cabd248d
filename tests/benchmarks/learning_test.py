"""The learning benchmark: what it compares, how it judges, and that runs are as described."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from absl import app, flags

from agents.popart_impala.popart import PopArtState
from agents.popart_impala.training_state import TrainingState
from benchmarks import learning, learning_report, training, verdicts
from benchmarks.comparisons import BASE, COMPARISONS, Claim, Comparison, Phase, matched, num_params
from environments import TASKS
from tests.compiling import unoptimised
from tests.integration.programs import ROOT
from tests.launch_programs.command_lines import given

# Settings in which configurations may differ.
SUBJECTS = {
    "popart",
    "reward_clipping",
    "network",
    "hidden_size",
    "task_input",
    "frozen_columns",
    "total_environment_frames",
}


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons_are_fair(name: str) -> None:
    comparison = COMPARISONS[name]()
    base = dataclasses.asdict(BASE)
    lengths, last_tasks = set(), set()
    for phases in comparison.configurations.values():
        for phase in phases:
            assert set(phase.played) | set(phase.evaluated) <= set(phase.tasks) <= set(TASKS)
            assert phase.config.batch_size % len(phase.played) == 0
            config = dataclasses.asdict(phase.config)
            assert {key for key in base if config[key] != base[key]} <= SUBJECTS
        lengths.add(phases[-1].config.total_environment_frames)
        last_tasks.add(phases[-1].played)
    assert len(lengths) == len(last_tasks) == 1
    assert comparison.claims
    for claim in comparison.claims:
        assert {claim.better, claim.worse} <= set(comparison.configurations)
        assert claim.better != claim.worse
        assert claim.measure in verdicts.MEASURES


def test_another_length() -> None:
    for phases in COMPARISONS["progressive"]().with_frames(1234).configurations.values():
        assert [phase.config.total_environment_frames for phase in phases] == [1234] * len(phases)


@pytest.mark.parametrize("task_input", (False, True))
def test_matched_networks_have_barely_more_parameters(task_input: bool) -> None:
    model = dataclasses.replace(BASE, network="attentive")
    config = matched(dataclasses.replace(BASE, task_input=task_input), model, 6)
    assert config.task_input == task_input
    smaller = dataclasses.replace(config, hidden_size=config.hidden_size - 1)
    assert num_params(smaller, 6) < num_params(model, 6) <= num_params(config, 6)


def phase_result(
    curve: list[float | None], evaluation: dict[str, float] | None = None
) -> dict[str, Any]:
    return {
        "num_params": 1000,
        "frames": [10 * (i + 1) for i in range(len(curve))],
        "curves": {"a": curve, "b": [None if x is None else x + 0.2 for x in curve]},
        "evaluation": evaluation or {},
    }


def test_measures() -> None:
    rising = [phase_result([0.0] * 9 + [None] + [0.5] * 8 + [0.6, 0.8])]
    assert verdicts.MEASURES["end"].of(rising) == pytest.approx(0.8)
    assert verdicts.MEASURES["training"].of(rising) == pytest.approx(5.4 / 19 + 0.1)
    two = [phase_result([0.0] * 10, {"a": 0.9}), phase_result([1.0] * 10, {"a": 0.25})]
    assert verdicts.MEASURES["kept"].of(two) == pytest.approx(-0.65)
    assert verdicts.MEASURES["training"].of(two) == pytest.approx(1.1)  # of the last phase


@pytest.mark.parametrize(
    "better, worse, holds, difference",
    [
        ((0.7, 0.9), (0.5, 0.6), True, 0.25),
        ((0.7, 0.9), (0.2, 0.71), False, 0.345),  # the mean is higher, one seed is not
        ((0.7, 0.9), (0.7, 0.7), False, 0.1),
        ((0.1, 0.2), (0.8, 0.9), False, -0.7),
    ],
)
def test_verdicts(
    better: tuple[float, ...], worse: tuple[float, ...], holds: bool, difference: float
) -> None:
    comparison = Comparison("title", {}, (Claim("x", "y", "training"),))
    runs = {
        name: [[phase_result([value - 0.1] * 10)] for value in values]
        for name, values in (("x", better), ("y", worse))
    }
    (verdict,) = verdicts.judge(comparison, runs)
    assert verdict.holds == holds
    assert verdict.difference == pytest.approx(difference)


def test_curves_normalise_by_the_scale_of_the_time() -> None:
    tasks = [TASKS["catch_x100"], TASKS["choice_changing"]]
    curves = training.Curves(tasks, [0, 1, 0, 1], total_frames=80_000)
    curves.add(0, 100.0, frames=1)
    curves.add(0, -60.0, frames=2_000)
    curves.add(0, -60.0, frames=2_001)
    curves.add(0, 100.0, frames=90_000)  # beyond the end: the last bin
    for _ in range(1000):  # in each of the two environments
        curves.add(1, 10.0, frames=10)
        curves.add(1, 2.2, frames=10)
    curves.add(1, 10_000.0, frames=80_000)
    curves.add(1, 2_200.0, frames=80_000)
    curves.add(1, 10_000.0, frames=80_000)
    means = curves.means()
    assert means["catch_x100"] == [0.5, 0.0] + [None] * 37 + [1.0]
    assert means["choice_changing"] == [0.5] + [None] * 38 + [round(2 / 3, 4)]


def tiny(played: str, *tasks: str, **changes: Any) -> Phase:
    config = dataclasses.replace(
        BASE, batch_size=4, hidden_size=8, total_environment_frames=4 * 9 * 12, **changes
    )
    return Phase(tasks or (played,), (played,), config, evaluated=(tasks or (played,))[:1])


@pytest.fixture
def short_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "EVALUATION_EPISODES", 20)


@pytest.mark.usefixtures("short_evaluation")
@pytest.mark.slow
def test_runs_are_reproducible_and_seeds_differ() -> None:
    phases = [tiny("catch_x100")]
    first = training.train(phases, seed=1)
    assert training.train(phases, seed=1) == first
    assert training.train(phases, seed=2)[0].curves != first[0].curves
    (result,) = first
    assert len(result.frames) == len(result.curves["catch_x100"]) == training.BINS
    assert result.frames[-1] == 4 * 9 * 12
    assert any(x is not None for x in result.curves["catch_x100"])


def test_what_a_second_phase_starts_from() -> None:
    def state(tasks: int, value: float) -> TrainingState:
        statistics = PopArtState(
            jnp.full(tasks, value),
            jnp.full(tasks, value + 1),
            jnp.full(tasks, value + 3),
            jnp.full(tasks, value + 4),
            jnp.full(tasks, value + 5),
            jnp.full(tasks, int(value) + 2),
        )
        return TrainingState({"w": np.full(3, value)}, (), statistics, 7, 700)

    new = state(2, 0.0)._replace(steps=0, frames=0)
    carried = training.carry_over(state(1, 5.0), new, grow=False)
    np.testing.assert_array_equal(carried.popart.mean, [5, 0])
    np.testing.assert_array_equal(carried.popart.variance, [6, 1])
    np.testing.assert_array_equal(carried.params["w"], [5, 5, 5])
    assert (carried.steps, carried.frames) == (0, 0)


@pytest.mark.usefixtures("short_evaluation")
@pytest.mark.slow
def test_a_second_column_leaves_the_first_task_as_it_was() -> None:
    a, b = "catch_lsr", "catch_rsl"
    first, before = training.train_phase(tiny(a, network="progressive"), 0, None)
    phase = tiny(b, a, b, network="progressive", frozen_columns=(1,))
    second, after = training.train_phase(phase, 0, before)
    assert second.curves.keys() == {b}
    assert second.evaluation == first.evaluation
    for module, values in before.params.items():
        for name, x in values.items():
            now = after.params[module][name]
            np.testing.assert_array_equal(now[..., :1] if module == "value_head" else now, x)
    np.testing.assert_array_equal(after.popart.mean[:1], before.popart.mean)
    assert after.popart.mean[1] != 0  # the second task was trained on


def test_the_report(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = Comparison(
        "Good and bad",
        {"good": (), "bad": ()},
        (Claim("good", "bad", "training"), Claim("bad", "good", "kept")),
    )
    monkeypatch.setattr(learning_report, "COMPARISONS", {"pair": lambda: comparison})
    runs = {
        name: [
            [phase_result([0.0] * 10, {"a": 1.0}), phase_result([value] * 10, {"a": value})]
            for value in values
        ]
        for name, values in (("good", (0.7, 0.9)), ("bad", (0.1, 0.3)))
    }
    (tmp_path / "pair.json").write_text(json.dumps(runs))
    learning_report.report(tmp_path)
    table = (tmp_path / "table.md").read_text()
    assert "| pair | good | 1,000 | 2 | 0.900 (0.800 to 1.000) | 0.900 (0.800 to 1.000) |" in table
    assert "| pair | good above bad | training | +0.600 | holds |" in table
    assert "| pair | bad above good | kept | -0.600 | does not hold |" in table
    assert (tmp_path / "learning.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_program(tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-m", "benchmarks.learning", f"--output={tmp_path}", "--seeds=1"]
    process = subprocess.run(
        [*command, "--frames=3000", "--comparison=progressive"],
        cwd=ROOT,
        env={**os.environ, **unoptimised()},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert process.returncode == 0, process.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        "progressive.json",
        "table.md",
        "learning.png",
    }
    runs = json.loads((tmp_path / "progressive.json").read_text())
    assert {name: [len(run) for run in seeds] for name, seeds in runs.items()} == {
        "progressive": [2],
        "fine-tuning": [2],
        "from scratch": [1],
    }
    ((before, after),) = runs["progressive"]
    assert after["evaluation"] == before["evaluation"]
    assert "3 of 3 runs" in process.stderr
    table = (tmp_path / "table.md").read_text()
    claims = len(COMPARISONS["progressive"]().claims)
    # The explanation contains the word too.
    assert table.count("holds") + table.count("does not hold") == claims + 1


def test_bad_flags_are_refused() -> None:
    with pytest.raises(app.UsageError, match="unexpected argument 'surplus'"):
        learning.main(["learning", "surplus"])
    for flag, message in (
        ("--comparison=size", "should be one of"),
        ("--seeds=0", "not a positive integer"),
    ):
        with (
            pytest.raises(flags.IllegalFlagValueError, match=message),
            given(learning.define_flags, flag),
        ):
            pass
