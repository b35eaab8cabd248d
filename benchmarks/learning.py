"""What the agent learns with and without its parts: `python -m benchmarks.learning`.

Trains every configuration of the comparisons (`benchmarks.comparisons`) with several seeds on toy
tasks, each run in a process of its own with one thread, as many at a time as there are cores.
Writes into --output

    COMPARISON.json   learning curves and evaluations of every run
    table.md          measures over seeds, and which claims hold
    learning.png      a panel for each comparison

and prints the table. A claim holds if the better configuration's worst seed is above the other's
best. Comparisons that are not run again keep the results that are there.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent import futures

import jax
from absl import app, flags

from benchmarks import learning_report
from benchmarks.comparisons import COMPARISONS
from benchmarks.verdicts import Run

FLAGS = flags.FLAGS

_ROOT = pathlib.Path(__file__).parents[1]

# One thread for each run: its matrices are too small to share, and the numbers do not depend on
# how many cores there are.
_VARIABLES = {
    "NPROC": "1",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "JAX_PLATFORMS": "cpu",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_multi_enum(
        "comparison",
        list(COMPARISONS),
        list(COMPARISONS),
        "Comparisons to run, the flag once for each; by default all.",
    )
    flags.DEFINE_integer("seeds", 3, "Seeds of each configuration: 0, 1, ...", lower_bound=1)
    flags.DEFINE_integer(
        "frames",
        0,
        "Environment frames of each phase, for quick tries; 0 for the comparison's own.",
        lower_bound=0,
    )
    flags.DEFINE_string("output", "benchmarks/results/learning", "Directory of the results.")


def train_all(names: Sequence[str], seeds: int, frames: int) -> dict[str, dict[str, list[Run]]]:
    """Trains everything.

    Args:
      names: keys of `COMPARISONS`.
      seeds: how many.
      frames: of each phase; 0 for the comparison's own.

    Returns:
      By comparison and configuration, a run for each seed.

    Raises:
      RuntimeError: a run failed; with what it printed.
    """
    jobs = [
        (name, configuration, seed)
        for name in names
        for configuration in COMPARISONS[name]().configurations
        for seed in range(seeds)
    ]
    started, done = time.monotonic(), 0
    runs: dict[str, dict[str, list[Run]]] = {}
    with futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        pending = [pool.submit(_train, *job, frames) for job in jobs]
        try:
            for (name, configuration, seed), run in zip(jobs, pending, strict=True):
                result = run.result()
                runs.setdefault(name, {}).setdefault(configuration, []).append(result)
                done += 1
                elapsed = time.monotonic() - started
                print(
                    f"{done} of {len(jobs)} runs  {elapsed:.0f} s  "
                    f"{name}: {configuration}, seed {seed}",
                    file=sys.stderr,
                    flush=True,
                )
        finally:
            pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C no further run starts
    return runs


def _train(name: str, configuration: str, seed: int, frames: int) -> Run:
    """Makes one run in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        output = pathlib.Path(directory) / "run.json"
        command = [sys.executable, "-m", "benchmarks.training"]
        process = subprocess.run(
            [*command, name, configuration, str(seed), str(frames), str(output)],
            cwd=_ROOT,
            env={**os.environ, **_VARIABLES},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if process.returncode:
            raise RuntimeError(f"{name}: {configuration}, seed {seed} failed:\n{process.stdout}")
        return json.loads(output.read_text())


def main(argv: list[str]) -> None:
    """Trains and reports."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    jax.config.update("jax_platforms", "cpu")  # here only shapes are worked out
    output = pathlib.Path(FLAGS.output)
    output.mkdir(parents=True, exist_ok=True)
    names = [name for name in COMPARISONS if name in FLAGS.comparison]
    for name, runs in train_all(names, FLAGS.seeds, FLAGS.frames).items():
        (output / f"{name}.json").write_text(json.dumps(runs, separators=(",", ":")) + "\n")
    learning_report.report(output)


if __name__ == "__main__":
    define_flags()
    app.run(main)
