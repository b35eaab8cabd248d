"""How fast the program runs, and how fast it could: `python -m benchmarks.throughput --use_lstm`.

Measures every stage of a step alone, each in a process like its node's, then the whole program on
the real tasks. The stages' CPU times per agent step imply a bound, cores / sum. The run's flags are
those of `launch_programs.train`. Needs the machine to itself.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

from absl import app, flags
from rich.console import Console
from rich.table import Table

from benchmarks import stages
from benchmarks.measuring import Measurement
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory
from launch_programs.settings.flags import define_run_flags, resolve

FLAGS = flags.FLAGS

# Seconds of learning before the whole program is measured.
_WARM_UP = 10.0


def define_flags() -> None:
    """Defines the flags of this program."""
    define_run_flags()
    FLAGS.set_default("level_name", "pong")
    flags.DEFINE_float("seconds", 15.0, "Seconds that each stage and the program are measured.")
    flags.DEFINE_enum(
        "stage",
        None,
        list(stages.STAGES),
        "Measures this stage only, in this process. The learner's takes its batches from the "
        "host's memory and needs the tasks' emulator, JAX, Haiku and their like only, no Acme, "
        "Reverb or Launchpad.",
    )
    flags.DEFINE_string("json", None, "File to write the figures to; by default none.")


def measure_stage(name: str, directory: RunDirectory, config: RunConfig) -> Measurement:
    """Measures a stage in a process with the environment variables of its node."""
    from launch_programs.launching.process_environments import process_environments

    variables = process_environments(config.cores_per_actor)[stages.STAGES[name].node]
    command = [sys.executable, "-m", "benchmarks.stages", str(directory.path), name]
    done = subprocess.run(
        [*command, str(FLAGS.seconds)],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Measurement(**json.loads(done.stdout.splitlines()[-1]))


def main(argv: list[str]) -> None:
    """Measures and reports."""
    del argv
    config = resolve(None)
    if FLAGS.stage is not None:
        measurement = stages.STAGES[FLAGS.stage].measure(config, FLAGS.seconds)
        _report({"stages": {FLAGS.stage: _figures(measurement)}})
        return

    from benchmarks import end_to_end

    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as temporary:
        directory = RunDirectory(pathlib.Path(temporary) / "stages")
        directory.create()
        directory.write_config(config)
        alone = {}
        for name in stages.STAGES:
            print(f"{name}: {FLAGS.seconds:.0f} s", file=sys.stderr, flush=True)
            alone[name] = measure_stage(name, directory, config)
        print(f"whole program: {_WARM_UP + FLAGS.seconds:.0f} s", file=sys.stderr, flush=True)
        run = pathlib.Path(temporary) / "run"
        whole = end_to_end.measure(config, run, _WARM_UP, FLAGS.seconds)
    bound = 1000 * cores / sum(measurement.core_ms for measurement in alone.values())
    _report(
        {
            "config": config.to_json(),
            "cores": cores,
            "stages": {name: _figures(measurement) for name, measurement in alone.items()},
            "bound_agent_steps_per_second": bound,
            "fraction_of_bound": whole.agent_steps_per_second / bound,
            "bytes_per_agent_step": stages.bytes_per_step(config),
            **whole._asdict(),
        }
    )


def _figures(measurement: Measurement) -> dict[str, float]:
    return {
        "agent_steps_per_second": measurement.steps_per_second,
        "core_ms_per_agent_step": measurement.core_ms,
    }


def _report(figures: dict[str, Any]) -> None:
    console = Console(highlight=False)
    table = Table("stage alone", title=None)
    table.add_column("agent steps/s", justify="right")
    table.add_column("core-ms per agent step", justify="right")
    for name, stage in figures["stages"].items():
        table.add_row(
            name,
            f"{stage['agent_steps_per_second']:,.0f}",
            f"{stage['core_ms_per_agent_step']:.3f}",
        )
    console.print(table)
    if "bound_agent_steps_per_second" in figures:
        nodes = figures["node_core_ms"]
        growth = figures["memory_growth_mib"]
        for line in (
            f"bound: {figures['cores']} cores / sum of the stages = "
            f"{figures['bound_agent_steps_per_second']:,.0f} agent steps/s",
            f"whole program: {figures['agent_steps_per_second']:,.0f} agent steps/s, "
            f"{figures['frames_per_second']:,.0f} frames/s, "
            f"{figures['fraction_of_bound']:.0%} of the bound",
            "core-ms per agent step by node: "
            + ", ".join(f"{name} {ms:.3f}" for name, ms in nodes.items()),
            "memory growth while measured, MiB: "
            + ", ".join(f"{name} {mib:.0f}" for name, mib in growth.items()),
            f"queue: {figures['bytes_per_agent_step']:,.0f} bytes per agent step",
            f"policy lag: mean {figures['policy_lag_mean']:.2f}, "
            f"at most {figures['policy_lag_max']} learner steps",
            f"start: {figures['start_seconds']:.1f} s from the command to the first learner steps",
        ):
            console.print(line, soft_wrap=True)
    if FLAGS.json is not None:
        pathlib.Path(FLAGS.json).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    define_flags()
    app.run(main)
