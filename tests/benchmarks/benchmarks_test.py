"""The benchmark programs run and report; the tests say nothing about speed."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from benchmarks import stages
from benchmarks.measuring import repeat
from launch_programs.settings.flags import define_run_flags, resolve
from tests.compiling import unoptimised
from tests.integration.programs import ROOT
from tests.launch_programs.command_lines import given
from tests.missing_packages import WITHOUT_ACME

SMALL = ["--environments_per_actor=2", "--num_actors=2", "--batch_size=2", "--unroll_length=4"]


def run(*command: str) -> str:
    process = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, **unoptimised()},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_the_work_of_a_process_that_was_started_counts() -> None:
    code = "import sys, time\nfor line in sys.stdin:\n"
    code += "    end = time.process_time() + 0.05\n"
    code += "    while time.process_time() < end: pass\n"
    code += "    print(flush=True)\n"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        stdin, stdout = child.stdin, child.stdout
        assert stdin is not None
        assert stdout is not None

        def run() -> None:
            stdin.write("\n")
            stdin.flush()
            stdout.readline()

        measurement = repeat(run, 1, seconds=0.5)
        stdin.close()
    # Another process's clock ticks every 10 ms.
    assert measurement.cpu_seconds > 0.05 * measurement.agent_steps - 0.02


@pytest.mark.parametrize("level", ["minatar:breakout", "doom:basic"])
def test_stages_of_other_families(level: str) -> None:
    with given(define_run_flags, f"--level_name={level}", *SMALL):
        config = resolve(None)
    for name in ("emulation", "inference", "queue", "learner"):
        assert stages.STAGES[name].measure(config, 0.01).agent_steps > 0


@pytest.mark.by_hand
def test_the_learner_alone_needs_the_mathematics_only(tmp_path: pathlib.Path) -> None:
    results = tmp_path / "learner.json"
    out = run(
        "-c",
        WITHOUT_ACME + "import runpy\n"
        "runpy.run_module('benchmarks.throughput', run_name='__main__', alter_sys=True)",
        "--stage=learner",
        "--seconds=0.1",
        f"--json={results}",
        *SMALL,
    )
    figures = json.loads(results.read_text())["stages"]["learner"]
    assert figures["agent_steps_per_second"] > 0
    assert figures["core_ms_per_agent_step"] > 0
    assert "learner" in out


@pytest.mark.by_hand
def test_every_stage_and_the_whole_program(tmp_path: pathlib.Path) -> None:
    results = tmp_path / "throughput.json"
    out = run("-m", "benchmarks.throughput", "--seconds=0.5", f"--json={results}", *SMALL)
    figures = json.loads(results.read_text())
    stages = figures["stages"]
    assert list(stages) == ["emulation", "inference", "queue", "learner", "publication"]
    costs = sum(stage["core_ms_per_agent_step"] for stage in stages.values())
    bound = 1000 * figures["cores"] / costs
    assert figures["bound_agent_steps_per_second"] == pytest.approx(bound)
    assert figures["frames_per_second"] == pytest.approx(4 * figures["agent_steps_per_second"])
    assert figures["fraction_of_bound"] == pytest.approx(figures["agent_steps_per_second"] / bound)
    # An unroll of 4 steps contains 8 frames of 84 x 84 and little else.
    assert 8 / 4 * 84 * 84 < figures["bytes_per_agent_step"] < 1.3 * 8 / 4 * 84 * 84
    assert {"learner", "actor", "coordinator"} <= set(figures["node_core_ms"])
    assert "% of the bound" in out


@pytest.mark.by_hand
def test_two_queues_carry_unrolls(tmp_path: pathlib.Path) -> None:
    results = tmp_path / "data_plane.json"
    run("-m", "benchmarks.data_plane", "--num_queues=2", "--seconds=1", f"--json={results}", *SMALL)
    figures = json.loads(results.read_text())
    rate = figures["agent_steps_per_second"]
    assert rate > 0
    assert figures["mib_per_second"] == pytest.approx(
        rate * figures["bytes_per_agent_step"] / 2**20
    )
    assert all(ms > 0 for ms in figures["core_ms_per_agent_step"].values())
