"""From environment to learner: no step is lost, duplicated or misaligned.

Runs the real actors, adder, writer, Reverb server, dataset and `time_major` between an environment
that counts and assertions on every entry that the learner would receive.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import acme
import dm_env
import jax
import numpy as np
import pytest
import reverb
from acme import core
from acme.utils import loggers

from agents.popart_impala import acme_actor, acme_adder, acting, reverb_queue, unrolls, update
from agents.popart_impala.config import Config
from agents.popart_impala.networks import Networks, make_networks
from agents.popart_impala.types import AgentInput, PolicyVariables, Unroll
from agents.popart_impala.variables import VariableClient
from environments import (
    AtariOptions,
    BatchedDmEnvironments,
    BatchedEnvironment,
    EnvironmentFailure,
    GuardedEnvironment,
    StackedFrames,
    WithTask,
    make_batched_environment,
    parse_level_name,
)
from tests.agents.popart_impala.counting import (
    NUM_ACTIONS,
    CountingEnvironment,
    Step,
    last_features,
    stacks,
    timeline,
)
from tests.agents.popart_impala.serving import serve

T = 4  # agent steps in an unroll
TASKS = (1, 0, 1)  # of the three environments
STACK = 3
FAILS_AT = 6  # agent step, counted from 0; mid-unroll, and mid-episode in the longer episodes

FRAMES = None
STACKED = StackedFrames((STACK, 4), np.float32, -1.0, 1e4, "frames")

time_major = jax.jit(update.time_major, static_argnums=1)


class Versions(core.VariableSource):
    """A learner that publishes new parameters on each request: step 0, 1, 2, ..."""

    def __init__(self, networks: Networks):
        self._init = jax.jit(networks.init)
        self._num_tasks = networks.num_tasks
        self.published: list[PolicyVariables] = []

    def get_variables(self, names: Sequence[str]) -> list[PolicyVariables]:
        step = len(self.published)
        params = jax.device_get(self._init(jax.random.PRNGKey(step)))
        mu = np.resize(np.array([step, -100], np.float32), self._num_tasks)
        sigma = np.resize(np.array([2, 30], np.float32), self._num_tasks)
        self.published.append(PolicyVariables(step, params, mu, sigma))
        return [self.published[step] for _ in names]


def counting_environments(features_spec: Any, num_steps: int) -> list[CountingEnvironment]:
    return [
        CountingEnvironment(i, num_steps=num_steps, features_spec=features_spec)
        for i in range(len(TASKS))
    ]


def with_tasks(environments: list[CountingEnvironment]) -> list[WithTask]:
    return [WithTask(e, task, num_tasks=2) for e, task in zip(environments, TASKS, strict=True)]


def lstm_networks(features_spec: Any) -> Networks:
    return make_networks(
        Config(network="mlp", use_lstm=True),
        features_spec=features_spec,
        num_actions=NUM_ACTIONS,
        num_tasks=2,
    )


def signature_of(networks: Networks, features_spec: Any) -> unrolls.Signature:
    return unrolls.unroll_signature(
        features_spec, networks.num_actions, T, networks.initial_state(1)
    )


def batched_actor(
    environment: BatchedEnvironment,
    networks: Networks,
    source: core.VariableSource,
    writer: unrolls.UnrollWriter,
) -> acting.BatchedActor:
    return acting.BatchedActor(
        environment,
        acting.make_policy(networks),
        acting.make_value_function(networks),
        networks.initial_state(environment.num_environments),
        VariableClient(source),
        writer,
        jax.random.PRNGKey(7),
    )


def run_unrolls(
    actor: acting.BatchedActor, num_unrolls: int, episodes: list[acting.EpisodeResult]
) -> None:
    for _ in range(num_unrolls):
        episodes += actor.run_unroll()


def in_thread(function: Callable[..., Any], *args: Any) -> threading.Thread:
    thread = threading.Thread(target=function, args=args, daemon=True)
    thread.start()
    return thread


def received(
    client: reverb.Client,
    signature: unrolls.Signature,
    *,
    num_unrolls: int,
    batch_size: int,
    stacked: bool,
) -> list[Unroll]:
    """Returns the next unrolls as the learner sees them, one for each column of a batch.

    `initial_state` keeps a batch axis of one, as networks need it.
    """
    assert num_unrolls % batch_size == 0
    batches = reverb_queue.Prefetcher([reverb_queue.make_batches(client, signature, batch_size)])
    result: list[Unroll] = []
    while len(result) < num_unrolls:
        batch = jax.device_get(time_major(next(batches).data, stacked))
        assert batch.action.shape == (T, batch_size)
        for b in range(batch_size):
            sequences = batch._replace(initial_state=(), params_step=())
            one = jax.tree.map(lambda x, b=b: x[:, b], sequences)
            state = jax.tree.map(lambda x, b=b: x[b : b + 1], batch.initial_state)
            result.append(one._replace(initial_state=state, params_step=batch.params_step[b]))
    return result


def inserted(client: reverb.Client) -> int:
    """Returns the number of unrolls ever inserted into the queue."""
    info = client.server_info()[reverb_queue.TABLE_NAME]
    return int(info.rate_limiter_info.insert_stats.completed)


def check_time_line(
    sequence: list[Unroll],
    environment: int,
    actions: list[int],
    stacked: bool,
    steps: list[Step] | None = None,
) -> None:
    """Checks every array of one environment's consecutive unrolls against the steps it played.

    These are `timeline`, or `steps` if given, up to the step whose observation is the last o_T.
    """
    for before, after in zip(sequence[:-1], sequence[1:], strict=True):
        for last, first in zip(before.inputs, after.inputs, strict=True):
            np.testing.assert_array_equal(last[-1], first[0])
    inputs = AgentInput(
        *(
            np.concatenate([*(getattr(u.inputs, name)[:-1] for u in sequence), last[-1:]])
            for name, last in sequence[-1].inputs._asdict().items()
        )
    )
    action = np.concatenate([u.action for u in sequence])
    reward = np.concatenate([u.reward for u in sequence])
    discount = np.concatenate([u.discount for u in sequence])

    num_steps = T * len(sequence)
    steps = steps or timeline(environment, num_steps + 1)
    first = np.array([step.first for step in steps])
    shown = stacks(steps, STACK) if stacked else np.stack([step.frame for step in steps])
    np.testing.assert_array_equal(inputs.features, shown)
    np.testing.assert_array_equal(inputs.first, first)
    np.testing.assert_array_equal(inputs.task, np.full(num_steps + 1, TASKS[environment]))
    np.testing.assert_array_equal(action, actions[:num_steps])
    np.testing.assert_array_equal(reward, [step.reward for step in steps[:-1]])
    goes_on = [step.discount > 0 and not (step.last and step.known) for step in steps[:-1]]
    np.testing.assert_array_equal(discount, goes_on)
    np.testing.assert_array_equal(
        inputs.previous_action, np.where(first, 0, np.append(0, action)), "previous_action"
    )
    np.testing.assert_array_equal(
        inputs.previous_reward, np.where(first, 0, np.append(0, reward)), "previous_reward"
    )


def check_network(
    sequence: list[Unroll],
    networks: Networks,
    published: list[PolicyVariables],
    steps: list[Step],
    features_shape: tuple[int, ...],
) -> int:
    """Checks states, logits and truncation values by running the network again, step by step.

    Returns:
      The number of episodes that a time limit ended.
    """
    step, unroll = jax.jit(networks.step), jax.jit(networks.unroll)
    state = networks.initial_state(1)
    compared = truncated = 0
    for k, one in enumerate(sequence):
        _, params, mu, sigma = published[one.params_step]
        if not one.inputs.first[0]:  # at an episode's start the network drops the state
            jax.tree.map(assert_close, one.initial_state, state)
            compared += 1
        again = unroll(params, jax.tree.map(lambda x: x[:, None], one.inputs), one.initial_state)
        assert_close(again.logits[:T, 0], one.behaviour_logits)
        for t in range(T):
            inputs = jax.tree.map(lambda x, t=t: x[t : t + 1], one.inputs)
            output, state = step(params, inputs, state)
            assert_close(output.logits[0], one.behaviour_logits[t])
            played = steps[T * k + t]
            value = 0.0
            if played.last and played.known and played.discount > 0:
                last = AgentInput(
                    features=last_features(played, features_shape)[None],
                    task=inputs.task,
                    previous_action=one.action[t : t + 1],
                    previous_reward=one.reward[t : t + 1],
                    first=np.array([False]),
                )
                task = int(inputs.task[0])
                normalised = step(params, last, state)[0].normalised_values[0, task]
                value = sigma[task] * normalised + mu[task]
                truncated += 1
            assert_close(one.truncation_value[t], value)
    # In the environment whose episodes are as long as unrolls, every unroll starts an episode.
    assert compared or all(one.inputs.first[0] for one in sequence)
    return truncated


def assert_close(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("features_spec", [FRAMES, STACKED], ids=["frames", "stacks"])
def test_batched_actor(features_spec: Any) -> None:
    num_unrolls = 12  # per environment
    n = len(TASKS)
    environments = counting_environments(features_spec, T * num_unrolls + 1)
    spec = environments[0].observation_spec()
    networks = lstm_networks(spec)
    signature = signature_of(networks, spec)
    source = Versions(networks)
    client = serve([reverb_queue.make_table(signature, capacity=5)])
    actor = batched_actor(
        BatchedDmEnvironments(with_tasks(environments)),
        networks,
        source,
        reverb_queue.QueueWriter(client, signature),
    )
    assert actor.steps_per_unroll == n * T
    episodes: list[acting.EpisodeResult] = []
    thread = in_thread(run_unrolls, actor, num_unrolls, episodes)
    stream = received(
        client,
        signature,
        num_unrolls=n * num_unrolls,
        batch_size=4,  # not a multiple of the number of environments
        stacked=features_spec is STACKED,
    )
    thread.join()
    assert inserted(client) == n * num_unrolls

    assert [one.params_step for one in stream] == list(np.repeat(np.arange(num_unrolls), n))
    for i, environment in enumerate(environments):
        assert len(environment.actions) == T * num_unrolls
        check_time_line(stream[i::n], i, environment.actions, features_spec is STACKED)
        assert check_network(
            stream[i::n], networks, source.published, timeline(i, T * num_unrolls), spec.shape
        )
    assert sorted(episodes) == sorted(finished_episodes(T * num_unrolls))


class Breaks(CountingEnvironment):
    """Raises in step `FAILS_AT`, counted from 0."""

    def step(self, action: Any) -> dm_env.TimeStep:
        if len(self.actions) == FAILS_AT:
            raise RuntimeError("broken")
        return super().step(action)


@pytest.mark.parametrize("features_spec", [FRAMES, STACKED], ids=["frames", "stacks"])
def test_a_failure_cuts_episodes_which_are_not_reported(features_spec: Any) -> None:
    num_unrolls = 5
    n = len(TASKS)
    broken = counting_environments(features_spec, T * num_unrolls)
    broken[1] = Breaks(1, features_spec=features_spec)
    others = counting_environments(features_spec, T * num_unrolls)
    failures: list[EnvironmentFailure] = []
    guarded = GuardedEnvironment(
        lambda attempt: BatchedDmEnvironments(with_tasks([broken, others][attempt])),
        task_names=("zero", "one"),
        deadline=60.0,
        max_failures=2,
        on_failure=failures.append,
    )
    spec = others[0].observation_spec()
    networks = lstm_networks(spec)
    signature = signature_of(networks, spec)
    source = Versions(networks)
    client = serve([reverb_queue.make_table(signature, capacity=n * num_unrolls)])
    writer = reverb_queue.QueueWriter(client, signature)
    episodes: list[acting.EpisodeResult] = []
    run_unrolls(batched_actor(guarded, networks, source, writer), num_unrolls, episodes)
    stream = received(
        client,
        signature,
        num_unrolls=n * num_unrolls,
        batch_size=n,
        stacked=features_spec is STACKED,
    )
    guarded.close()
    assert [failure.what for failure in failures] == [
        "environment 1 (task 0, zero) failed in step(): RuntimeError: broken"
    ]

    after = T * num_unrolls - (FAILS_AT + 1)  # steps of the environments that replaced them
    for i in range(n):
        # The failed step is the last of its episode, pays no reward and is cut off.
        before = timeline(i, FAILS_AT + 1)
        before[FAILS_AT] = before[FAILS_AT]._replace(
            last=True, reward=0.0, discount=1.0, known=False
        )
        unroll, t = divmod(FAILS_AT, T)
        actions = [
            *broken[i].actions[:FAILS_AT],
            stream[i::n][unroll].action[t],  # not all environments received it
            *others[i].actions,
        ]
        steps = before + timeline(i, after + 1)
        assert steps[FAILS_AT + 1].first
        check_time_line(stream[i::n], i, actions, features_spec is STACKED, steps)
        check_network(stream[i::n], networks, source.published, steps, spec.shape)
    assert sorted(episodes) == sorted(finished_episodes(FAILS_AT) + finished_episodes(after))


def finished_episodes(num_steps: int) -> list[acting.EpisodeResult]:
    results = []
    for environment, task in enumerate(TASKS):
        rewards: list[float] = []
        for step in timeline(environment, num_steps):
            rewards.append(step.reward)
            if step.last:
                results.append(acting.EpisodeResult(task, sum(rewards), len(rewards)))
                rewards = []
    return results


@pytest.mark.parametrize("features_spec", [FRAMES, STACKED], ids=["frames", "stacks"])
def test_actor_and_adder_in_acmes_environment_loop(features_spec: Any) -> None:
    environments = counting_environments(features_spec, 200)
    environment, wrapped = environments[0], with_tasks(environments)[0]
    spec = environment.observation_spec()
    networks = lstm_networks(spec)
    signature = signature_of(networks, spec)
    source = Versions(networks)
    client = serve([reverb_queue.make_table(signature, capacity=100)])
    actor = acme_actor.Actor(
        acting.make_policy(networks),
        acting.make_value_function(networks),
        networks.initial_state(1),
        VariableClient(source),
        jax.random.PRNGKey(7),
        acme_adder.UnrollAdder(reverb_queue.QueueWriter(client, signature)),
    )
    loop = acme.EnvironmentLoop(wrapped, actor, logger=loggers.NoOpLogger(), should_update=False)
    for _ in range(11):
        loop.run_episode()
    # An unroll may be completed by the next episode's first observation, which is not here yet.
    num_unrolls = (len(environment.actions) - 1) // T
    assert inserted(client) == num_unrolls
    stream = received(
        client,
        signature,
        num_unrolls=num_unrolls,
        batch_size=1,
        stacked=features_spec is STACKED,
    )
    check_time_line(stream, 0, environment.actions, features_spec is STACKED)
    assert check_network(
        stream, networks, source.published, timeline(0, T * num_unrolls), spec.shape
    )


def test_a_full_queue_holds_the_actor_and_loses_nothing() -> None:
    num_unrolls, n = 4, len(TASKS)
    environments = counting_environments(FRAMES, T * num_unrolls + 1)
    spec = environments[0].observation_spec()
    networks = lstm_networks(spec)
    signature = signature_of(networks, spec)
    source = Versions(networks)
    client = serve([reverb_queue.make_table(signature, capacity=n - 1)])
    actor = batched_actor(
        BatchedDmEnvironments(with_tasks(environments)),
        networks,
        source,
        reverb_queue.QueueWriter(client, signature),
    )
    thread = in_thread(run_unrolls, actor, num_unrolls, [])
    while inserted(client) < n - 1:
        time.sleep(0.01)
    thread.join(timeout=1.2)  # longer than one of the writer's attempts
    assert thread.is_alive()
    assert inserted(client) == n - 1
    assert [len(environment.actions) for environment in environments] == [T] * n
    stream = received(client, signature, num_unrolls=n * num_unrolls, batch_size=1, stacked=False)
    thread.join()
    assert inserted(client) == n * num_unrolls
    for i, environment in enumerate(environments):
        check_time_line(stream[i::n], i, environment.actions, stacked=False)


def test_a_stop_ends_a_blocked_write() -> None:
    environments = counting_environments(FRAMES, T + 1)
    spec = environments[0].observation_spec()
    networks = lstm_networks(spec)
    signature = signature_of(networks, spec)
    stop = threading.Event()
    client = serve([reverb_queue.make_table(signature, capacity=1)])
    actor = batched_actor(
        BatchedDmEnvironments(with_tasks(environments)),
        networks,
        Versions(networks),
        reverb_queue.QueueWriter(client, signature, stop.is_set),
    )
    thread = in_thread(actor.run_unroll)
    while inserted(client) < 1:
        time.sleep(0.01)
    assert thread.is_alive()
    stop.set()
    thread.join(timeout=60)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("games", "options", "num_unrolls"),
    [
        # Games of 7 agent steps.
        ("pong,riverraid,seaquest", AtariOptions(max_frames_per_episode=28), 8),
        # The loss of a life starts an episode while the game continues.
        ("montezuma_revenge", AtariOptions(life_loss=True), 15),
    ],
    ids=["cut off", "lost lives"],
)
def test_atari_stacks_are_rebuilt_bit_for_bit(
    games: str, options: AtariOptions, num_unrolls: int
) -> None:
    tasks = parse_level_name(games)
    indices = [0, len(tasks) - 1, len(tasks) // 2]
    environment = make_batched_environment(tasks, indices, atari=options, seed=3)
    spec = environment.observation_spec().features
    networks = make_networks(
        Config(network="shallow"), features_spec=spec, num_actions=18, num_tasks=len(tasks)
    )
    signature = signature_of(networks, spec)
    assert signature.inputs.features.shape == (T + 1 + 3, 84, 84)
    source = Versions(networks)
    client = serve([reverb_queue.make_table(signature, capacity=3)])
    writer = reverb_queue.QueueWriter(client, signature)
    actor = batched_actor(environment, networks, source, writer)
    thread = in_thread(run_unrolls, actor, num_unrolls, [])
    stream = received(client, signature, num_unrolls=3 * num_unrolls, batch_size=3, stacked=True)
    thread.join()
    environment.close()

    # Replays the same games with the actions that the learner received.
    again = make_batched_environment(tasks, indices, atari=options, seed=3)
    timestep = again.reset()
    starts = 0
    for k in range(num_unrolls):
        rows = stream[3 * k : 3 * k + 3]
        for t in range(T):
            for row, shown in zip(rows, timestep.observation.features, strict=True):
                np.testing.assert_array_equal(row.inputs.features[t], shown)
            np.testing.assert_array_equal([r.inputs.first[t] for r in rows], timestep.first)
            timestep = again.step(np.array([row.action[t] for row in rows]))
            np.testing.assert_array_equal([r.reward[t] for r in rows], timestep.reward)
            goes_on = ~timestep.truncated & (timestep.discount > 0)
            np.testing.assert_array_equal([r.discount[t] for r in rows], goes_on)
            starts += int(timestep.first.sum())
        for row, shown in zip(rows, timestep.observation.features, strict=True):
            np.testing.assert_array_equal(row.inputs.features[T], shown)
    again.close()
    assert starts >= 2
