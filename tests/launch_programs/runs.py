"""Run directories without training."""

import pathlib

import jax

from agents.popart_impala import popart
from agents.popart_impala.config import Config
from agents.popart_impala.training_state import TrainingState, make_optimiser
from environments import AtariOptions
from launch_programs.run.checkpointing import Checkpointer
from launch_programs.run.metrics import CSVTable, Row
from launch_programs.run.parts import make_run_networks
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory
from launch_programs.settings.flags import define_run_flags, resolve
from tests.launch_programs.command_lines import given

CONFIG = RunConfig(
    tasks=("pong", "seaquest"),
    grow_from=None,
    agent=Config(),
    atari=AtariOptions(),
    num_actors=2,
    environments_per_actor=4,
    num_queues=0,
    seed=1,
    evaluation_interval=1_000,
    checkpoint_interval=60.0,
    log_interval=10.0,
    environment_deadline=300.0,
    max_environment_failures=5,
)


def make_tables(
    path: pathlib.Path, level: str, *more_flags: str, **tables: list[Row]
) -> RunDirectory:
    """A run directory with a configuration and the given table rows, but no checkpoint."""
    with given(define_run_flags, f"--level_name={level}", *more_flags):
        config = resolve(None)
    directory = RunDirectory(path)
    directory.create()
    directory.write_config(config)
    for name, rows in tables.items():
        CSVTable(path / f"{name}.csv").append(rows)
    return directory


def make_run(path: pathlib.Path, level: str, *more_flags: str, steps: int = 5) -> RunDirectory:
    """A run directory with a checkpoint of initial parameters."""
    directory = make_tables(path, level, *more_flags)
    config = directory.read_config()
    networks = make_run_networks(config)
    params = jax.device_get(jax.jit(networks.init)(jax.random.PRNGKey(0)))
    opt_state = jax.device_get(make_optimiser(config.agent).init(params))
    statistics = jax.device_get(popart.initial_state(networks.num_tasks))
    state = TrainingState(params, opt_state, statistics, steps, frames=640 * steps)
    Checkpointer(directory.checkpoints).save(state, {"learner_steps": steps})
    return directory
