"""What each network costs, also by number of sub-networks: `benchmarks.networks`.

Measures the learner's update and one actor's forward pass, each in a process like its node's, for
every network on Atari images. Needs the machine to itself.
"""

import dataclasses
import json
import pathlib
import sys
import tempfile
from typing import Any

from absl import app, flags
from rich.console import Console
from rich.table import Table

from benchmarks.throughput import measure_stage
from launch_programs.run.parts import make_run_networks
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory
from launch_programs.settings.flags import define_run_flags, resolve

FLAGS = flags.FLAGS

_NETWORKS = [
    "shallow",
    "deep",
    *(f"attentive:{subnets}" for subnets in (1, 2, 4, 8)),
    "progressive",
    *(f"self_attention:{subnets}" for subnets in (1, 2)),
]


def define_flags() -> None:
    """Defines the flags of this program."""
    define_run_flags()
    flags.DEFINE_float("seconds", 10.0, "Seconds that each stage is measured.")
    flags.DEFINE_list(
        "networks",
        _NETWORKS,
        "Networks to measure, the first as what the others are compared with; NAME:K has K "
        "sub-networks.",
    )
    flags.DEFINE_string("json", None, "File to write the figures to; by default none.")


def _configured(name: str, base: RunConfig) -> tuple[RunConfig, int]:
    """The configuration with a network, NAME or NAME:K, and its number of parameters.

    Raises:
      UsageError: there is no such network, or it has no sub-networks.
    """
    network, _, k = name.partition(":")
    try:
        subnets = int(k) if k else None
        agent = dataclasses.replace(base.agent, network=network, subnets=subnets)
        config = dataclasses.replace(base, agent=agent)
        return config, make_run_networks(config).num_params
    except ValueError as error:
        raise app.UsageError(f"networks={name!r}: must be NAME or NAME:K; {error}") from error


def main(argv: list[str]) -> None:
    """Measures and reports."""
    del argv
    base = resolve(None)
    configured = {name: _configured(name, base) for name in FLAGS.networks}
    table = Table("network", "K")
    for column in ("parameters", "learner", "inference", "learner, of the first's"):
        table.add_column(column, justify="right")
    figures: list[dict[str, Any]] = []
    for name, (config, parameters) in configured.items():
        print(f"{name}: {2 * FLAGS.seconds:.0f} s or more", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as temporary:
            directory = RunDirectory(pathlib.Path(temporary) / "run")
            directory.create()
            directory.write_config(config)
            learner = measure_stage("learner", directory, config).core_ms
            inference = measure_stage("inference", directory, config).core_ms
        network, subnets = config.agent.network, config.agent.subnets
        figures.append(
            {
                "network": network,
                "subnets": subnets,
                "parameters": parameters,
                "learner_core_ms_per_agent_step": learner,
                "inference_core_ms_per_agent_step": inference,
            }
        )
        ratio = learner / figures[0]["learner_core_ms_per_agent_step"]
        table.add_row(
            network,
            "" if subnets is None else str(subnets),
            f"{parameters:,}",
            f"{learner:.3f}",
            f"{inference:.3f}",
            f"{ratio:.1f}",
        )
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    console.print("core-ms per agent step")
    console.print(table)
    if FLAGS.json is not None:
        pathlib.Path(FLAGS.json).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    define_flags()
    app.run(main)
