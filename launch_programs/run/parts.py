"""Builds the agent's parts from a run's configuration, the same in every node and program."""

import functools
from collections.abc import Callable

import acme
import numpy as np
from acme import specs
from acme.utils import loggers

import agents.popart_impala as popart_impala
from agents.popart_impala.networks import Networks, make_networks
from environments import make_environment
from launch_programs.run.run_config import RunConfig


def environment_spec(config: RunConfig) -> specs.EnvironmentSpec:
    """The spec shared by all environments of the run."""
    environment = make_environment(config.task_list(), 0, atari=config.atari, seed=config.seed)
    try:
        return acme.make_environment_spec(environment)
    finally:
        environment.close()


@functools.lru_cache(maxsize=1)  # other checkpoints of the run need no recompilation
def make_run_networks(config: RunConfig) -> Networks:
    """The run's network, for programs that do not learn: needs no Reverb, hence no TensorFlow.

    Raises:
      ValueError: the network does not fit the observations.
    """
    spec = environment_spec(config)
    return make_networks(
        config.agent,
        features_spec=spec.observations.features,
        num_actions=spec.actions.num_values,
        num_tasks=spec.observations.task.num_values,
    )


def make_builder(
    config: RunConfig,
    *,
    logger: loggers.Logger | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> "popart_impala.PopArtIMPALABuilder":
    """The agent's builder for this run."""
    return popart_impala.PopArtIMPALABuilder(
        config.agent,
        environment_spec(config),
        logger=logger,
        log_interval=config.log_interval,
        should_stop=should_stop,
    )


def derive_seed(*entropy: int) -> int:
    """A seed in [0, 2^31) from several numbers, for parts that must not share random numbers."""
    return int(np.random.SeedSequence(entropy).generate_state(1)[0] >> 1)
