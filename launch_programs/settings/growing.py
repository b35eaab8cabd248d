"""`--grow_from`: the first state of a progressive network with one more column."""

import jax

from agents.popart_impala import popart
from agents.popart_impala.networks.progressive import grow
from agents.popart_impala.training_state import TrainingState, make_optimiser
from launch_programs.run.checkpointing import has_checkpoint, restore_policy
from launch_programs.run.parts import make_run_networks
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory


def first_state(config: RunConfig, directory: RunDirectory) -> TrainingState | None:
    """The first state of a run that grows from another: the other's columns, and a new one.

    The parameters of the earlier columns and the PopArt statistics of their tasks are kept
    unchanged; the new column is initialised, and the optimiser state is reset.

    Args:
      config: the run; `grow_from` names the earlier one.
      directory: directory of the run.

    Returns:
      The state to save as the first checkpoint, with NumPy arrays; None if the run does not grow,
      or has a checkpoint to continue from.

    Raises:
      ValueError: the earlier run has no checkpoint, or its parameters do not fit.
    """
    if config.grow_from is None or has_checkpoint(directory):
        return None
    try:
        parent = restore_policy(RunDirectory(config.grow_from))
        networks = make_run_networks(config)
        new = jax.device_get(networks.init(jax.random.PRNGKey(config.seed)))
        params = grow(parent.params, new)
    except ValueError as error:
        raise ValueError(f"grow_from={config.grow_from!r}: {error}") from error
    statistics = jax.device_get(
        popart.extend(parent.popart, popart.initial_state(networks.num_tasks))
    )
    opt_state = jax.device_get(make_optimiser(config.agent).init(params))
    return TrainingState(params, opt_state, statistics, steps=0, frames=0)
