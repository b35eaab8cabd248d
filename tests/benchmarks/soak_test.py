"""The soak's figures, and a short soak."""

import json
import pathlib
import subprocess
import sys

import pytest

from benchmarks.soak import memory_growth
from tests.integration.programs import ROOT


def test_memory_counts_from_when_a_process_has_settled() -> None:
    mib = 2**20
    samples = [(5.0, 10 * mib), (31.0, 100 * mib), (61.0, 90 * mib), (91.0, 103 * mib)]
    assert memory_growth(samples) == {"seconds": 60.0, "mib": 100.0, "growth_mib": 3.0}
    assert memory_growth(samples[:2]) is None
    assert memory_growth([]) is None


@pytest.mark.by_hand
def test_a_short_soak(tmp_path: pathlib.Path) -> None:
    """On one machine, where killing the learner ends the program, which is then resumed."""
    results = tmp_path / "soak.json"
    command = [sys.executable, "-m", "benchmarks.soak", "--seconds=75", "--kill_interval=4"]
    command += ["--launch_type=local_mp", "--flags=--num_actors=2", f"--json={results}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout
    figures = json.loads(results.read_text())
    assert figures["frames"] > 0
    assert figures["processes_left"] == []
    assert sum(map(len, figures["kills"].values())) >= 2
    assert sum(figures["restarts"].values()) + figures["resumed"] >= 2
