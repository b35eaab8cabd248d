"""Compares the agent with and without its parts: `python -m benchmarks.learning`.

Trains every configuration of the comparisons (`benchmarks.comparisons`) on toy tasks with several
seeds, each run in its own single-threaded process, as many at a time as there are cores. Writes
into --output

    COMPARISON.json   learning curves and evaluations of every run
    table.md          measures over seeds, and which claims hold
    learning.png      a panel for each comparison

and prints the table. A claim holds if the better configuration's worst seed is above the other's
best. Comparisons that are not run again keep their existing results.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent import futures

import jax
from absl import app, flags

from benchmarks import learning_report
from benchmarks.comparisons import COMPARISONS
from benchmarks.verdicts import Run

FLAGS = flags.FLAGS

_ROOT = pathlib.Path(__file__).parents[1]

# One thread per run: its matrices are too small to share, and the results do not depend on the
# number of cores.
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


def train_all(
    names: Sequence[str], seeds: int, frames: int
) -> Iterator[tuple[str, dict[str, list[Run]]]]:
    """Trains all configurations of the comparisons.

    Args:
      names: keys of `COMPARISONS`.
      seeds: how many.
      frames: frames per phase; 0 for the comparison's own.

    Yields:
      A comparison and, by configuration, one run per seed, as soon as all of them are done.

    Raises:
      RuntimeError: a run failed; includes its output.
    """
    jobs = {
        name: [
            (configuration, seed)
            for configuration in COMPARISONS[name]().configurations
            for seed in range(seeds)
        ]
        for name in names
    }
    total, done, started = sum(map(len, jobs.values())), 0, time.monotonic()
    pool = futures.ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    try:
        pending = {
            name: [pool.submit(_train, name, *job, frames) for job in jobs[name]] for name in names
        }
        for name in names:
            runs: dict[str, list[Run]] = {}
            for (configuration, seed), run in zip(jobs[name], pending[name], strict=True):
                runs.setdefault(configuration, []).append(run.result())
                done += 1
                print(
                    f"{done} of {total} runs  {time.monotonic() - started:.0f} s  "
                    f"{name}: {configuration}, seed {seed}",
                    file=sys.stderr,
                    flush=True,
                )
            yield name, runs
    finally:
        pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C, no further runs start


def _train(name: str, configuration: str, seed: int, frames: int) -> Run:
    """Trains one run in its own process."""
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
    jax.config.update("jax_platforms", "cpu")  # this process only works out shapes
    output = pathlib.Path(FLAGS.output)
    output.mkdir(parents=True, exist_ok=True)
    names = [name for name in COMPARISONS if name in FLAGS.comparison]
    for name, runs in train_all(names, FLAGS.seeds, FLAGS.frames):
        (output / f"{name}.json").write_text(json.dumps(runs, separators=(",", ":")) + "\n")
    learning_report.report(output)


if __name__ == "__main__":
    define_flags()
    app.run(main)
