"""Acting and learning in turn, in one thread: no queue, no Acme, no other process."""

from typing import Any

import chex
import jax

from agents.popart_impala.acting import (
    BatchedActor,
    EpisodeResult,
    make_policy,
    make_value_function,
)
from agents.popart_impala.config import Config
from agents.popart_impala.learning import BatchLearner
from agents.popart_impala.networks import make_networks
from agents.popart_impala.types import Unroll
from agents.popart_impala.unrolls import Signature, UnrollWriter, unroll_signature
from agents.popart_impala.variables import VariableClient
from environments import BatchedEnvironment, StackedFrames


class InProcessAgent:
    """Trains on the environments of one batch.

    Uses the actor and learner classes of the programs. Here every unroll is played with the
    learner's newest parameters, and the same seeds give the same numbers on the same machine.

    Attributes:
      networks: the network.
      learner: holds the training state; its `save` and `restore` are for checkpoints.
    """

    def __init__(self, config: Config, environment: BatchedEnvironment, random_key: chex.PRNGKey):
        """Starts every environment's first episode.

        Args:
          config: the agent's settings.
          environment: as many environments as a batch has unrolls.
          random_key: for the initial parameters and for sampling actions.

        Raises:
          ValueError: there are more or fewer environments, or the network does not fit them.
        """
        n = environment.num_environments
        if n != config.batch_size:
            raise ValueError(
                f"batch_size={config.batch_size}: must be the number of environments, {n}, since a "
                "batch is an unroll of each"
            )
        observation: Any = environment.observation_spec()  # of specs
        num_actions = environment.action_spec().num_values
        self.networks = make_networks(
            config,
            features_spec=observation.features,
            num_actions=num_actions,
            num_tasks=observation.task.num_values,
        )
        initial_state = self.networks.initial_state(1)
        learner_key, actor_key = jax.random.split(random_key)
        self.learner = BatchLearner(
            self.networks,
            config,
            learner_key,
            stacked=isinstance(observation.features, StackedFrames),
        )
        self._batch = _Batch(
            unroll_signature(observation.features, num_actions, config.unroll_length, initial_state)
        )
        self._actor = BatchedActor(
            environment,
            make_policy(self.networks),
            make_value_function(self.networks),
            self.networks.initial_state(n),
            VariableClient(self.learner),
            self._batch,
            actor_key,
        )

    def step(self) -> list[EpisodeResult]:
        """Plays an unroll in each environment and makes one update from them.

        Returns:
          The episodes that ended.

        Raises:
          NonFiniteUpdates: as `BatchLearner.learn`.
        """
        episodes = self._actor.run_unroll()
        self.learner.learn(self._batch.unrolls)
        return episodes


class _Batch(UnrollWriter):
    """Keeps the last unrolls written."""

    unrolls: Unroll

    def __init__(self, signature: Signature):
        self.signature = signature

    def write(self, unrolls: Unroll) -> None:
        self.unrolls = unrolls
