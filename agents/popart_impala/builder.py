"""Assembles the agent's parts as Acme's builders do."""

from collections.abc import Callable, Iterator, Sequence

import reverb
from acme import core, specs
from acme.agents.jax import builders
from acme.jax import types as acme_jax_types
from acme.utils import counting, loggers

from agents.popart_impala import acme_actor, acme_adder, acting, networks, reverb_queue, unrolls
from agents.popart_impala.acme_learner import PopArtIMPALALearner
from agents.popart_impala.config import Config
from agents.popart_impala.variables import VariableClient
from environments import BatchedEnvironment, StackedFrames
from environments.conversion import features_spec


class PopArtIMPALABuilder(builders.ActorLearnerBuilder):
    """Makes every part of a PopArt-IMPALA agent for environments of one spec.

    Observations are `environments.Observation`s (`environments.WithTask` makes them from those of
    any dm_env environment); actions are discrete.
    """

    def __init__(
        self,
        config: Config,
        environment_spec: specs.EnvironmentSpec,
        *,
        logger: loggers.Logger | None = None,
        log_interval: float = 10.0,
        should_stop: Callable[[], bool] = lambda: False,
    ):
        """Checks that the parts fit together; starts nothing.

        Args:
          config: the agent's settings.
          environment_spec: of one environment, as `acme.make_environment_spec` returns it.
          logger: gets the learner's metrics.
          log_interval: seconds between them.
          should_stop: polled by whatever waits for the queue; once true, writers give up and
            iterators end.

        Raises:
          ValueError: network and environment do not fit, or a spec is not supported.
        """
        observation = environment_spec.observations
        if not (hasattr(observation, "features") and hasattr(observation, "task")):
            raise ValueError(
                "observations must be environments.Observation(features, task), not "
                f"{type(observation).__name__}: wrap the environment in environments.WithTask"
            )
        if features_spec(observation.features) != observation.features:
            raise ValueError(
                f"features must be of at most 32 bits, not {observation.features.dtype}: wrap the "
                "environment in environments.WithTask, which converts them"
            )
        if not isinstance(environment_spec.actions, specs.DiscreteArray):
            raise ValueError(f"actions must be discrete, not {environment_spec.actions!r}")
        self._config = config
        self._environment_spec = environment_spec
        self._logger = logger
        self._log_interval = log_interval
        self._should_stop = should_stop
        self.networks = networks.make_networks(
            config,
            features_spec=observation.features,
            num_actions=environment_spec.actions.num_values,
            num_tasks=observation.task.num_values,
        )
        self._signature = unrolls.unroll_signature(
            observation.features,
            environment_spec.actions.num_values,
            config.unroll_length,
            self.networks.initial_state(1),
        )

    def make_replay_tables(
        self, environment_spec: specs.EnvironmentSpec | None = None
    ) -> list[reverb.Table]:
        """The queue's table, in a list of one.

        Raises:
          ValueError: `environment_spec` is given and differs from the builder's.
        """
        if environment_spec is not None and environment_spec != self._environment_spec:
            raise ValueError(
                f"environment_spec {environment_spec} is not the builder's {self._environment_spec}"
            )
        return [reverb_queue.make_table(self._signature, self._config.queue_capacity)]

    def make_dataset_iterator(
        self, replay_client: reverb.Client | Sequence[reverb.Client]
    ) -> Iterator[reverb.ReplaySample]:
        """Yields batches of unrolls, prefetched by one; ends once `should_stop` is true.

        Args:
          replay_client: of the queue's server, or of several that share the actors' unrolls. Each
            batch then comes from a single server, whichever has one first.
        """
        clients = replay_client if isinstance(replay_client, Sequence) else [replay_client]
        return reverb_queue.Prefetcher(
            [
                reverb_queue.make_batches(client, self._signature, self._config.batch_size)
                for client in clients
            ],
            self._should_stop,
        )

    def make_adder(self, replay_client: reverb.Client) -> acme_adder.UnrollAdder:
        """Makes an adder that writes an unroll every `unroll_length` steps."""
        return acme_adder.UnrollAdder(self._make_writer(replay_client))

    def make_policy(self, *, greedy: bool = False, values: bool = False) -> acting.Policy:
        """Makes the policy for `make_actor`: sampling or greedy, with or without values."""
        return acting.make_policy(self.networks, greedy=greedy, values=values)

    def make_actor(
        self,
        random_key: acme_jax_types.PRNGKey,
        policy_network: acting.Policy,
        adder: acme_adder.UnrollAdder | None = None,
        variable_source: core.VariableSource | None = None,
    ) -> acme_actor.Actor:
        """Makes an actor for one environment in an `acme.EnvironmentLoop`.

        Raises:
          ValueError: there is no variable source; this policy has parameters.
        """
        if variable_source is None:
            raise ValueError("variable_source is needed: the policy has parameters")
        return acme_actor.Actor(
            policy_network,
            acting.make_value_function(self.networks),
            self.networks.initial_state(1),
            VariableClient(variable_source),
            random_key,
            adder,
        )

    def make_batched_actor(
        self,
        random_key: acme_jax_types.PRNGKey,
        environment: BatchedEnvironment,
        replay_client: reverb.Client,
        variable_source: core.VariableSource,
    ) -> acting.BatchedActor:
        """Makes an actor that steps many environments with one forward pass, used in training."""
        return acting.BatchedActor(
            environment,
            self.make_policy(),
            acting.make_value_function(self.networks),
            self.networks.initial_state(environment.num_environments),
            VariableClient(variable_source),
            self._make_writer(replay_client),
            random_key,
        )

    def make_learner(
        self,
        random_key: acme_jax_types.PRNGKey,
        networks: networks.Networks,
        dataset: Iterator[reverb.ReplaySample],
        replay_client: reverb.Client | None = None,
        counter: counting.Counter | None = None,
    ) -> PopArtIMPALALearner:
        """Makes the learner; `replay_client` is unused, since a queue has no priorities."""
        return PopArtIMPALALearner(
            networks,
            self._config,
            dataset,
            random_key,
            stacked=isinstance(self._environment_spec.observations.features, StackedFrames),
            counter=counter,
            logger=self._logger,
            log_interval=self._log_interval,
        )

    def _make_writer(self, replay_client: reverb.Client) -> reverb_queue.QueueWriter:
        return reverb_queue.QueueWriter(replay_client, self._signature, self._should_stop)
