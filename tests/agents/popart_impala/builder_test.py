"""The builder, used as Acme's base class describes it, with a real Reverb server."""

import inspect
import itertools
import pathlib
import re
import threading
import warnings
from collections.abc import Iterator

import acme
import dm_env
import jax
import numpy as np
import pytest
import reverb
from acme import adders, core
from acme.utils import counting, loggers
from acme.utils.loggers.dataframe import InMemoryLogger
from dm_env import specs

from agents.popart_impala import BatchedActor, Config, PopArtIMPALABuilder
from agents.popart_impala.types import AgentInput, Unroll
from environments import (
    AtariOptions,
    BatchedDmEnvironments,
    Catch,
    StackedFrames,
    WithTask,
    parse_level_name,
)
from environments import make_environment as make_task
from tests.agents.popart_impala.serving import serve

ROOT = pathlib.Path(__file__).parents[3]
# One thread acts and learns, so the queue holds everything written before the learner takes it.
CONFIG = Config(
    network="mlp", use_lstm=True, unroll_length=4, batch_size=3, queue_size=8, action_repeat=1
)


def make_environment(task: int = 0) -> WithTask:
    return WithTask(Catch(seed=task), task=task, num_tasks=2)


SPEC = acme.make_environment_spec(make_environment())


def test_it_is_one_of_acmes_builders() -> None:
    # Not at the top of the file: it can only be imported after `agents`.
    from acme.agents.jax import builders

    assert issubclass(PopArtIMPALABuilder, builders.ActorLearnerBuilder)
    # Acme calls methods by these names, and passes arguments by position or by name.
    for name in builders.ActorLearnerBuilder.__abstractmethods__:
        theirs = inspect.signature(getattr(builders.ActorLearnerBuilder, name)).parameters
        ours = inspect.signature(getattr(PopArtIMPALABuilder, name)).parameters
        assert list(ours)[: len(theirs)] == list(theirs), name


def test_an_agent_put_together_by_hand() -> None:
    builder = PopArtIMPALABuilder(CONFIG, SPEC)
    tables = builder.make_replay_tables(SPEC)
    assert [type(table) for table in tables] == [reverb.Table]
    client = serve(tables)
    adder = builder.make_adder(client)
    assert isinstance(adder, adders.Adder)
    dataset = builder.make_dataset_iterator(client)
    assert isinstance(dataset, Iterator)
    counter = counting.Counter()
    learner = builder.make_learner(
        jax.random.PRNGKey(0), builder.networks, dataset, client, counter
    )
    assert isinstance(learner, core.Learner)
    actor = builder.make_actor(
        jax.random.PRNGKey(1), builder.make_policy(), adder, variable_source=learner
    )
    assert isinstance(actor, core.Actor)
    loop = acme.EnvironmentLoop(make_environment(task=1), actor, logger=loggers.NoOpLogger())
    for _ in range(2):  # 18 steps, the last observation still missing: 4 unrolls
        loop.run_episode()
    learner.step()
    assert counter.get_counts() == {"steps": 1, "frames": 12}

    # The next unroll records that it was played with the new parameters.
    actor.update(wait=True)
    for _ in range(3):
        loop.run_episode()
    batch = next(dataset).data
    assert isinstance(batch, Unroll)
    assert list(batch.params_step) == [0, 0, 1]
    assert (batch.inputs.task == 1).all()


def test_without_an_adder_nothing_is_recorded() -> None:
    builder = PopArtIMPALABuilder(CONFIG, SPEC)
    client = serve(builder.make_replay_tables())
    learner = builder.make_learner(jax.random.PRNGKey(0), builder.networks, iter([]))
    actor = builder.make_actor(
        jax.random.PRNGKey(1), builder.make_policy(greedy=True), variable_source=learner
    )
    loop = acme.EnvironmentLoop(make_environment(), actor, logger=loggers.NoOpLogger())
    assert loop.run_episode()["episode_length"] == 9
    (info,) = client.server_info().values()
    assert info.current_size == 0


def test_a_greedy_policy_takes_the_likeliest_action() -> None:
    builder = PopArtIMPALABuilder(CONFIG, SPEC)
    learner = builder.make_learner(jax.random.PRNGKey(0), builder.networks, iter([]))
    (variables,) = learner.get_variables(["policy"])
    # A policy that prefers action 2, but not by much.
    params = jax.tree.map(np.zeros_like, variables.params)
    params["policy_head"]["b"][:] = [0.0, 0.0, 0.1]
    inputs = AgentInput(
        features=np.zeros((200, *SPEC.observations.features.shape), np.float32),
        task=np.zeros(200, np.int32),
        previous_action=np.zeros(200, np.int32),
        previous_reward=np.zeros(200, np.float32),
        first=np.ones(200, bool),
    )
    state = builder.networks.initial_state(200)
    greedy = builder.make_policy(greedy=True)(params, jax.random.PRNGKey(0), inputs, state)
    assert (greedy.action == 2).all()
    sampled = builder.make_policy()(params, jax.random.PRNGKey(0), inputs, state)
    assert set(np.unique(sampled.action)) == {0, 1, 2}
    again = builder.make_policy()(params, sampled.key, inputs, state)
    assert (again.action != sampled.action).any()


def test_a_batched_actor_feeds_the_learner() -> None:
    builder = PopArtIMPALABuilder(CONFIG, SPEC)
    environment = BatchedDmEnvironments([make_environment(task) for task in (0, 1, 1)])
    client = serve(builder.make_replay_tables(SPEC))
    dataset = builder.make_dataset_iterator(client)
    learner = builder.make_learner(jax.random.PRNGKey(0), builder.networks, dataset)
    actor = builder.make_batched_actor(
        jax.random.PRNGKey(1), environment, client, variable_source=learner
    )
    assert isinstance(actor, BatchedActor)
    episodes = []
    for _ in range(5):
        episodes += actor.run_unroll()
        learner.step()
    assert [(e.task, e.episode_length) for e in episodes] == 2 * [(0, 9), (1, 9), (1, 9)]
    assert learner.frames == 5 * CONFIG.frames_per_update == 5 * 12


class Shows(Catch):
    """Catch with a board of another dtype; rewards are one-element arrays."""

    def __init__(self, dtype: type):
        super().__init__(seed=0)
        self._dtype = dtype

    def observation_spec(self) -> specs.Array:
        return super().observation_spec().replace(dtype=self._dtype)

    def _converted(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        reward = None if timestep.first() else np.array([timestep.reward])
        return timestep._replace(
            observation=timestep.observation.astype(self._dtype), reward=reward
        )

    def reset(self) -> dm_env.TimeStep:
        return self._converted(super().reset())

    def step(self, action: int) -> dm_env.TimeStep:
        return self._converted(super().step(action))


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.uint64, bool, np.float16, np.uint32])
def test_observations_of_other_types_reach_the_learner(dtype: type) -> None:
    environment = WithTask(Shows(dtype), 0, 1)
    config = Config(network="mlp", hidden_size=8, unroll_length=2, batch_size=1, action_repeat=1)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*dtype.*")
        builder = PopArtIMPALABuilder(config, acme.make_environment_spec(environment))
        client = serve(builder.make_replay_tables())
        dataset, copy = itertools.tee(builder.make_dataset_iterator(client))
        learner = builder.make_learner(jax.random.PRNGKey(0), builder.networks, dataset)
        actor = builder.make_actor(
            jax.random.PRNGKey(1), builder.make_policy(), builder.make_adder(client), learner
        )
        timestep = environment.reset()
        shown = [timestep.observation.features]
        actor.observe_first(timestep)
        for _ in range(2):
            action = actor.select_action(timestep.observation)
            timestep = environment.step(action)
            shown.append(timestep.observation.features)
            actor.observe(action, timestep)
        learner.step()
        np.testing.assert_array_equal(next(copy).data.inputs.features[0], shown)
        assert learner.save().steps == 1


def test_specs_of_64_bits_are_refused() -> None:
    observation = SPEC.observations._replace(features=specs.Array((3,), np.float64))
    with pytest.raises(ValueError, match="at most 32 bits, not float64: .*WithTask, which conv"):
        PopArtIMPALABuilder(CONFIG, SPEC._replace(observations=observation))


def test_stacks_of_frames_travel_as_single_frames() -> None:
    config = Config(unroll_length=2, batch_size=1)
    environment = make_task(parse_level_name("pong"), 0, atari=AtariOptions(), seed=0)
    spec = acme.make_environment_spec(environment)
    assert isinstance(spec.observations.features, StackedFrames)
    builder = PopArtIMPALABuilder(config, spec)
    client = serve(builder.make_replay_tables(spec))
    dataset, copy = itertools.tee(builder.make_dataset_iterator(client))
    learner = builder.make_learner(jax.random.PRNGKey(0), builder.networks, dataset)
    actor = builder.make_actor(
        jax.random.PRNGKey(1), builder.make_policy(), builder.make_adder(client), learner
    )
    timestep = environment.reset()
    actor.observe_first(timestep)
    for _ in range(2):
        action = actor.select_action(timestep.observation)
        timestep = environment.step(action)
        actor.observe(action, timestep)
    learner.step()  # with stacks again, or the network would not accept it
    assert next(copy).data.inputs.features.shape == (1, 3 + 2 + 1, 84, 84)
    environment.close()


def test_a_stop_ends_learner_and_writer() -> None:
    stop = threading.Event()
    builder = PopArtIMPALABuilder(CONFIG, SPEC, should_stop=stop.is_set)
    environment = BatchedDmEnvironments([make_environment() for _ in range(4)])
    client = serve(builder.make_replay_tables())
    learner = builder.make_learner(
        jax.random.PRNGKey(0), builder.networks, builder.make_dataset_iterator(client)
    )
    actor = builder.make_batched_actor(jax.random.PRNGKey(1), environment, client, learner)
    stop.set()
    with pytest.raises(StopIteration):
        learner.step()
    for _ in range(10):  # far more than the queue holds
        actor.run_unroll()


def test_metrics_go_to_the_logger() -> None:
    logger = InMemoryLogger()
    builder = PopArtIMPALABuilder(CONFIG, SPEC, logger=logger, log_interval=0.0)
    environment = BatchedDmEnvironments([make_environment() for _ in range(3)])
    client = serve(builder.make_replay_tables())
    learner = builder.make_learner(
        jax.random.PRNGKey(0), builder.networks, builder.make_dataset_iterator(client)
    )
    builder.make_batched_actor(jax.random.PRNGKey(1), environment, client, learner).run_unroll()
    learner.step()
    assert [row["learner_steps"] for row in logger.data] == [1]


# What the builder refuses.


def test_replay_tables_of_another_environment() -> None:
    builder = PopArtIMPALABuilder(CONFIG, SPEC)
    other = acme.make_environment_spec(WithTask(Catch(columns=7), task=0, num_tasks=2))
    with pytest.raises(ValueError, match="is not the builder's"):
        builder.make_replay_tables(other)


def test_observations_without_a_task() -> None:
    with pytest.raises(ValueError, match="wrap the environment in environments.WithTask"):
        PopArtIMPALABuilder(CONFIG, acme.make_environment_spec(Catch()))


def test_continuous_actions() -> None:
    spec = SPEC._replace(actions=specs.BoundedArray((2,), np.float32, -1, 1, "torque"))
    with pytest.raises(ValueError, match="actions must be discrete, not .*torque"):
        PopArtIMPALABuilder(CONFIG, spec)


def test_a_network_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match=re.escape("the observations are [10, 5]")):
        PopArtIMPALABuilder(Config(network="shallow"), SPEC)


def test_an_actor_without_parameters() -> None:
    builder = PopArtIMPALABuilder(CONFIG, SPEC)
    with pytest.raises(ValueError, match="variable_source is needed"):
        builder.make_actor(jax.random.PRNGKey(0), builder.make_policy())
