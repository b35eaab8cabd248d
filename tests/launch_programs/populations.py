"""Populations without training."""

import pathlib
from typing import Any

from launch_programs.run.population import PopulationConfig, PopulationDirectory, Range
from launch_programs.settings.flags import define_run_flags, resolve
from tests.launch_programs.command_lines import given

RANGES = {"learning_rate": Range(1e-4, 1e-2)}


def population(level: str = "toy", *more_flags: str, **changes: object) -> PopulationConfig:
    """Three members of 1,000 frames in intervals of 400, apart from `changes`."""
    flags = ("--total_environment_frames=1000", *more_flags)
    with given(define_run_flags, f"--level_name={level}", *flags):
        run = resolve(None)
    settings: dict[str, Any] = {"members": 3, "interval": 400, "scheduler": "pbt", "ranges": RANGES}
    return PopulationConfig(run=run, **{**settings, **changes})


def make_population(path: pathlib.Path, config: PopulationConfig) -> PopulationDirectory:
    """A directory with these settings."""
    directory = PopulationDirectory(path)
    path.mkdir(exist_ok=True)
    directory.write_config(config)
    return directory
