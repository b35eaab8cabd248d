"""The update against a two-pass version; the learner's state, counts, threads, devices."""

import dataclasses
import itertools
import os
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import acme
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reverb
from acme.utils import counting
from acme.utils.loggers.dataframe import InMemoryLogger

from agents.popart_impala import popart
from agents.popart_impala.acme_learner import PopArtIMPALALearner
from agents.popart_impala.config import Config
from agents.popart_impala.learning import MAX_SKIPPED_IN_A_ROW, NonFiniteUpdates
from agents.popart_impala.networks import VALUE_HEAD, Networks, make_networks
from agents.popart_impala.training_state import TrainingState, learning_rate, make_optimiser
from agents.popart_impala.types import AgentInput, Params, PolicyVariables, Unroll
from agents.popart_impala.update import make_update, time_major
from agents.popart_impala.variables import POLICY
from tests.agents.popart_impala.statistics import settled
from tests.compiling import unoptimised

Array = np.ndarray

ROOT = pathlib.Path(__file__).parents[3]
T, B, NUM_ACTIONS, NUM_TASKS = 5, 4, 3, 3
TASK = np.array([0, 1, 1, 0], np.int32)  # none of task 2
FEATURES = np.zeros((6,), np.float32)  # stands in for a spec: shape and dtype
NETWORKS: dict[bool, Networks] = {
    use_lstm: make_networks(
        Config(network="mlp", use_lstm=use_lstm),
        features_spec=FEATURES,
        num_actions=NUM_ACTIONS,
        num_tasks=NUM_TASKS,
    )
    for use_lstm in (False, True)
}
CONFIG = Config(
    network="mlp",
    use_lstm=False,
    unroll_length=T,
    batch_size=B,
    learning_rate=0.01,
    warmup_updates=0,
    total_environment_frames=4 * T * B * 10,  # ten updates
    popart_step_size=0.2,
    discounting=0.9,
    gradient_clipping=1e6,
    loss_reduction="sum",
    vtrace_lambda=1.0,
    standardise_advantages=False,
    ratio_clip=None,
    optimiser="rmsprop",
    passes=1,
    minibatches=1,
)
LSTM_CONFIG = dataclasses.replace(CONFIG, use_lstm=True)
METRICS = {
    "learner_steps",
    "frames",
    "frames_per_second",
    "waiting_share",
    "skipped_updates",
    "learning_rate",
    "policy_lag_mean",
    "policy_lag_max",
    "loss",
    "policy_gradient_loss",
    "baseline_loss",
    "entropy_loss",
    "entropy",
    "rho_mean",
    "rho_clipped_fraction",
    "mu",
    "sigma",
    "gradient_norm",
}


def random_unrolls(seed: int, use_lstm: bool = False) -> Unroll:
    """A batch [B, T, ...] as from the queue: every kind of episode end, rewards of two scales."""
    rng = np.random.default_rng(seed)
    first = np.zeros((B, T + 1), bool)
    discount = np.ones((B, T), np.float32)
    first[0, 3], discount[0, 2] = True, 0.0  # terminated
    first[1, 2] = True  # cut off, successor unknown
    first[1, 4], discount[1, 3] = True, 0.0  # by a time limit
    truncation_value = np.zeros((B, T), np.float32)
    truncation_value[1, 3] = 30.0
    first[2, [0, 5]], discount[2, 4] = True, 0.0
    scale = np.array([1.0, 100.0])[TASK][:, None]
    return Unroll(
        inputs=AgentInput(
            features=rng.normal(size=(B, T + 1, 6)).astype(np.float32),
            task=TASK,
            previous_action=rng.integers(NUM_ACTIONS, size=(B, T + 1), dtype=np.int32),
            previous_reward=rng.normal(size=(B, T + 1)).astype(np.float32),
            first=first,
        ),
        action=rng.integers(NUM_ACTIONS, size=(B, T), dtype=np.int32),
        reward=(scale * rng.normal(loc=0.5, size=(B, T))).astype(np.float32),
        discount=discount,
        truncation_value=truncation_value,
        behaviour_logits=rng.normal(size=(B, T, NUM_ACTIONS)).astype(np.float32),
        initial_state=jax.tree.map(
            lambda x: rng.normal(size=x.shape).astype(np.float32),
            NETWORKS[use_lstm].initial_state(B),
        ),
        params_step=rng.integers(3, size=B, dtype=np.int32),
    )


def batches(*, start: int = 0, use_lstm: bool = False) -> Iterator[reverb.ReplaySample]:
    return (
        reverb.ReplaySample(info=None, data=random_unrolls(seed, use_lstm))
        for seed in itertools.count(start)
    )


def make_learner(
    config: Config = CONFIG, dataset: Iterator[Any] | None = None, key: int = 0, **kwargs: Any
) -> PopArtIMPALALearner:
    return PopArtIMPALALearner(
        NETWORKS[config.use_lstm],
        config,
        batches(use_lstm=config.use_lstm) if dataset is None else dataset,
        jax.random.PRNGKey(key),
        stacked=False,
        **kwargs,
    )


def with_statistics(learner: PopArtIMPALALearner) -> TrainingState:
    """Returns the learner's state with statistics other than the initial ones."""
    mean, variance = np.array([1.0, -20.0, 5.0]), np.array([4.0, 900.0, 0.25])
    statistics = settled(mean, variance)
    return learner.save()._replace(popart=jax.device_get(statistics))


def taken(array: Any, action: Array) -> Any:
    """Selects the actions' entries [T, B] from [T, B, num_actions]."""
    return array[np.arange(T)[:, None], np.arange(B)[None], action]


def assert_close(actual: Any, expected: Any, before: Any) -> None:
    """Compares trees up to rounding, relative to the largest change of each array."""

    def compare(a: Any, b: Any, c: Any) -> None:
        bound = 1e-4 * np.max(np.abs(np.asarray(b) - np.asarray(c))) + 2e-7
        np.testing.assert_allclose(a, b, rtol=2e-7, atol=bound)

    jax.tree.map(compare, actual, expected, before)


def assert_equal(actual: Any, expected: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


# One update.


def two_pass_update(config: Config, state: TrainingState, unrolls: Unroll) -> TrainingState:
    """The update in the order of the PopArt paper, with a second forward and backward pass.

    Computes targets with the old parameters, then the statistics, the preserved head, the gradient
    there, clipping and RMSProp. Shares only the network with the learner.
    """
    # [B, T, ...] -> [T, B, ...]
    inputs = AgentInput(
        *(np.swapaxes(x, 0, 1) if x.ndim > 1 else np.tile(x, (T + 1, 1)) for x in unrolls.inputs)
    )
    action, reward = unrolls.action.T, unrolls.reward.T
    gamma = config.discounting * unrolls.discount.T
    counts = ~(inputs.first[1:] & (unrolls.discount.T > 0))

    def forward(params: Params) -> tuple[jax.Array, jax.Array]:
        """log pi [T, B, num_actions], normalised values of each sequence's task [T+1, B]."""
        output = NETWORKS[config.use_lstm].unroll(params, inputs, unrolls.initial_state)
        values = output.normalised_values[:, np.arange(B), TASK]
        return jax.nn.log_softmax(output.logits[:T]), values

    # rho_t = c_t since rho_bar = c_bar = 1, so v_t = V_t + rho_t (r_t + g_t v_{t+1} - V_t).
    old_mean = np.asarray(state.popart.mean, np.float64)
    old_variance = np.asarray(state.popart.variance, np.float64)
    old_sigma = np.sqrt(old_variance)
    log_pi, normalised = (np.asarray(x, np.float64) for x in forward(state.params))
    behaviour = unrolls.behaviour_logits.swapaxes(0, 1)
    log_mu = behaviour - np.log(np.exp(behaviour).sum(axis=2, keepdims=True))
    rho = np.minimum(1.0, np.exp(taken(log_pi, action) - taken(log_mu, action)))
    values = old_sigma[TASK] * normalised + old_mean[TASK]
    targets, advantages = values.copy(), np.zeros((T, B))
    for t in reversed(range(T)):
        following = gamma[t] * targets[t + 1]
        known = [values[:, TASK == task] for task in TASK]  # bounds the truncation values
        last = np.clip(
            unrolls.truncation_value[:, t], [v.min() for v in known], [v.max() for v in known]
        )
        last[unrolls.truncation_value[:, t] == 0] = 0.0
        following += config.discounting * last  # nonzero only where gamma is 0
        error = rho[t] * (reward[t] + following - values[t])
        advantages[t] = counts[t] * error
        targets[t] = values[t] + advantages[t]
    targets = targets[:T]

    mean, second_moment = old_mean.copy(), old_variance + old_mean**2
    reward_square = np.asarray(state.popart.reward_square, np.float64).copy()
    updates = np.array(state.popart.updates)
    for task in range(NUM_TASKS):
        b = max(config.popart_step_size, 1 / (updates[task] + 2))
        own = targets[:, TASK == task][counts[:, TASK == task]]
        if own.size:
            paid = reward[:, TASK == task][counts[:, TASK == task]]
            total = updates[task] * reward_square[task] + (paid**2).mean()
            updates[task] += 1
            reward_square[task] = total / updates[task]
        if own.size and config.popart:
            mean[task] = (1 - b) * mean[task] + b * own.mean()
            second_moment[task] = (1 - b) * second_moment[task] + b * (own**2).mean()
    variance = second_moment - mean**2
    sigma = np.sqrt(variance)

    head = state.params[VALUE_HEAD]
    params = {
        **state.params,
        VALUE_HEAD: {
            "w": np.float32(head["w"] * old_sigma / sigma),
            "b": np.float32((old_sigma * head["b"] + old_mean - mean) / sigma),
        },
    }

    def loss(params: Params) -> jax.Array:
        log_pi, normalised = forward(params)
        scaled = np.float32((targets - mean[TASK]) / sigma[TASK])
        value_loss = 0.5 * jnp.sum(counts * (normalised[:T] - scaled) ** 2)
        policy_loss = -jnp.sum(np.float32(advantages / sigma[TASK]) * taken(log_pi, action))
        entropy = -jnp.sum(counts[:, :, None] * jnp.exp(log_pi) * log_pi)
        return policy_loss + config.baseline_cost * value_loss - config.entropy_cost * entropy

    gradient = jax.tree.map(lambda g: np.asarray(g, np.float64), jax.jit(jax.grad(loss))(params))
    norm = np.sqrt(sum(np.sum(g**2) for g in jax.tree.leaves(gradient)))
    clip = min(1.0, config.gradient_clipping / norm)
    (mean_square,) = (s.nu for s in state.opt_state if hasattr(s, "nu"))
    decay = config.rmsprop_decay
    mean_square = jax.tree.map(
        lambda m, g: decay * m + (1 - decay) * (clip * g) ** 2, mean_square, gradient
    )
    rate = config.learning_rate * (1 - state.frames / config.total_environment_frames)
    params = jax.tree.map(
        lambda p, g, m: p - rate * clip * g / np.sqrt(m + config.rmsprop_epsilon),
        params,
        gradient,
        mean_square,
    )
    return TrainingState(
        params,
        tuple(s._replace(nu=mean_square) if hasattr(s, "nu") else s for s in state.opt_state),
        settled(mean, variance, reward_square)._replace(updates=jnp.asarray(updates)),
        state.steps + 1,
        state.frames + 4 * T * B,
    )


@pytest.mark.parametrize(
    ("config", "clipped"),
    [
        (LSTM_CONFIG, False),
        (dataclasses.replace(CONFIG, gradient_clipping=0.5), True),
        (dataclasses.replace(CONFIG, popart=False), False),
    ],
    ids=["popart with LSTM", "clipped", "plain"],
)
def test_updates_are_those_in_two_passes(config: Config, clipped: bool) -> None:
    logger = InMemoryLogger()
    learner = make_learner(config, logger=logger, log_interval=0.0)
    state = with_statistics(learner) if config.popart else learner.save()
    learner.restore(state)
    for seed in range(2):
        expected = two_pass_update(config, state, random_unrolls(seed, config.use_lstm))
        learner.step()
        actual = learner.save()
        assert_close(actual, expected, before=state)
        assert (logger.data[-1]["gradient_norm"] > config.gradient_clipping) == clipped
        state = actual


def test_adam_by_its_definition() -> None:
    # Two steps with the moments of arXiv 1412.6980, algorithm 1, in float64.
    config = dataclasses.replace(CONFIG, optimiser="adam", gradient_clipping=0.5)
    optimiser = make_optimiser(config)
    rng = np.random.default_rng(0)
    opt_state = optimiser.init(jnp.zeros(7))
    m = v = np.zeros(7)
    for t in (1, 2):
        gradient = rng.normal(scale=3.0, size=7)
        step, opt_state = optimiser.update(jnp.asarray(gradient, jnp.float32), opt_state)
        clipped = gradient * min(1.0, 0.5 / float(np.linalg.norm(gradient)))
        m, v = 0.9 * m + 0.1 * clipped, 0.999 * v + 0.001 * clipped**2
        expected = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-5)
        np.testing.assert_allclose(step, expected, rtol=1e-4)


def rows_of(unrolls: Unroll, rows: Array) -> Unroll:
    return jax.tree.map(lambda x: x[rows], unrolls)


def test_a_batch_is_learned_from_in_parts_and_several_times() -> None:
    config = dataclasses.replace(CONFIG, passes=3, minibatches=2, ratio_clip=0.2, optimiser="adam")
    learner = make_learner(config)
    state = expected = learner.save()
    seen: list[list[int]] = []
    one_step = learner._update

    def spy(params: Any, opt_state: Any, statistics: Any, unrolls: Unroll, rate: Any) -> Any:
        rewards = np.asarray(unrolls.reward)
        whole = random_unrolls(0).reward
        seen.append([int(np.flatnonzero((whole == row).all(axis=1))[0]) for row in rewards])
        return one_step(params, opt_state, statistics, unrolls, rate)

    learner._update = spy
    learner.step()
    learner.save()
    # Each pass uses every unroll once, in its own order.
    passes = [seen[i] + seen[i + 1] for i in (0, 2, 4)]
    assert len(seen) == 6 and all(sorted(order) == list(range(B)) for order in passes)
    assert len({tuple(order) for order in passes}) > 1

    for rows in seen:
        params, opt_state, statistics, metrics = make_update(NETWORKS[False], config, False)(
            expected.params,
            expected.opt_state,
            expected.popart,
            rows_of(random_unrolls(0), np.array(rows)),
            np.float32(config.learning_rate),
        )
        assert not metrics["skipped"]
        expected = TrainingState(params, opt_state, statistics, 1, config.frames_per_update)
    assert_close(learner.save(), expected, before=state)


def unnormalised_values(state: TrainingState, unrolls: Unroll) -> Array:
    """float64 [T+1, B, NUM_TASKS], of all tasks."""
    batch = time_major(unrolls, stacked=False)
    output = NETWORKS[False].unroll(state.params, batch.inputs, batch.initial_state)
    scale = popart.configured_scale(state.popart, CONFIG)
    mu, sigma = (np.asarray(x, np.float64) for x in scale)
    return mu + sigma * np.asarray(output.normalised_values)


def test_the_statistics_alone_leave_unnormalised_values_as_they_were() -> None:
    learner = make_learner(dataclasses.replace(CONFIG, standardise_advantages=True))
    # After the last frame the learning rate is 0: all that is left is the statistics' part.
    before = with_statistics(learner)._replace(frames=CONFIG.total_environment_frames)
    updates = jnp.full(NUM_TASKS, 8)  # few enough for the mean square of rewards to move
    before = before._replace(popart=before.popart._replace(updates=updates))
    learner.restore(before)
    learner.step()
    after = learner.save()
    for task in range(NUM_TASKS):
        changed = np.array(after.popart)[:, task] != np.array(before.popart)[:, task]
        assert changed.all() if task in TASK else not changed.any()
    unrolls = random_unrolls(0)
    scale = np.abs(after.popart.mean) + np.sqrt(after.popart.variance)
    np.testing.assert_allclose(
        unnormalised_values(after, unrolls) / scale,
        unnormalised_values(before, unrolls) / scale,
        rtol=0,
        atol=1e-6,
    )
    assert (after.params[VALUE_HEAD]["w"] != before.params[VALUE_HEAD]["w"])[:, TASK].any()
    rest = {name: x for name, x in after.params.items() if name != VALUE_HEAD}
    assert_equal(rest, {name: before.params[name] for name in rest})


def test_without_popart_the_statistics_stay() -> None:
    learner = make_learner(dataclasses.replace(CONFIG, popart=False))
    for _ in range(2):
        learner.step()
    np.testing.assert_array_equal(learner.save().popart.mean, np.zeros(NUM_TASKS))
    np.testing.assert_array_equal(learner.save().popart.variance, np.ones(NUM_TASKS))


# Counts and the learning rate.


def test_learning_rate_falls_linearly_to_zero() -> None:
    config = Config(learning_rate=0.5, warmup_updates=0, total_environment_frames=2**33)
    assert learning_rate(config, 0) == 0.5
    assert learning_rate(config, 2**31) == 0.375
    assert learning_rate(config, 2**32) == 0.25
    assert learning_rate(config, 2**33) == 0.0
    assert learning_rate(config, 2**33 + 1) == 0.0


def test_learning_rate_rises_at_first() -> None:
    config = Config(
        learning_rate=1.0,
        warmup_updates=4,
        unroll_length=5,
        batch_size=2,
        action_repeat=1,
        total_environment_frames=1000,
    )
    rates = [learning_rate(config, 10 * step) for step in range(6)]
    assert rates == pytest.approx([0.25 * 1.0, 0.5 * 0.99, 0.75 * 0.98, 0.97, 0.96, 0.95])


def test_frames_beyond_int32() -> None:
    config = dataclasses.replace(CONFIG, total_environment_frames=2**33)
    counter = counting.Counter()
    logger = InMemoryLogger()
    learner = make_learner(config, counter=counter, logger=logger, log_interval=0.0)
    start = learner.save()
    half_way = start._replace(frames=2**32, steps=2**24)
    learner.restore(half_way)
    learner.step()
    halved = learner.save()
    assert (halved.frames, halved.steps) == (2**32 + 4 * T * B, 2**24 + 1)
    assert learner.frames == halved.frames
    assert logger.data[-1]["frames"] == halved.frames
    assert logger.data[-1]["learning_rate"] == 0.5 * config.learning_rate
    assert counter.get_counts() == {"steps": 1, "frames": 4 * T * B}

    whole_learner = make_learner(config)
    whole_learner.step()
    whole = whole_learner.save()
    # Without the value head, as preserving it is no part of the step: half the rate, half the step.
    torso = {name: x for name, x in start.params.items() if name != VALUE_HEAD}
    half_step = jax.tree.map(
        lambda p, q: p + 0.5 * (q - p), torso, {name: whole.params[name] for name in torso}
    )
    assert_close({name: halved.params[name] for name in torso}, half_step, before=torso)


def test_counter_and_metrics() -> None:
    counter = counting.Counter()
    logger = InMemoryLogger()
    learner = make_learner(counter=counter, logger=logger, log_interval=0.0)
    learner.restore(learner.save()._replace(steps=7))
    for _ in range(2):
        learner.step()
    assert counter.get_counts() == {"steps": 2, "frames": 2 * 4 * T * B}
    assert [set(row) for row in logger.data] == [METRICS] * 2
    row = logger.data[-1]
    assert (row["learner_steps"], row["frames"]) == (9, 2 * 4 * T * B)
    assert row["learning_rate"] == pytest.approx(0.9 * CONFIG.learning_rate)
    lag = 8 - random_unrolls(1).params_step
    assert (row["policy_lag_mean"], row["policy_lag_max"]) == (lag.mean(), lag.max())
    scale = popart.configured_scale(learner.save().popart, Config())
    np.testing.assert_allclose(row["mu"], scale.mu, rtol=1e-6)
    np.testing.assert_allclose(row["sigma"], scale.sigma, rtol=1e-6)
    for name in METRICS - {"mu", "sigma"}:
        assert np.shape(row[name]) == ()
        assert np.isfinite(row[name])


def test_metrics_are_written_at_intervals_only() -> None:
    logger = InMemoryLogger()
    learner = make_learner(logger=logger, log_interval=1e6)
    for _ in range(3):
        learner.step()
    assert logger.data == []


def test_step_says_that_the_data_has_ended() -> None:
    learner = make_learner(dataset=itertools.islice(batches(), 2))
    learner.step()
    learner.step()
    with pytest.raises(StopIteration):
        learner.step()
    assert learner.save().steps == 2


# Updates that are not finite.

# The learning rate is the same in every update: 1 - frames / 2**60 rounds to 1.
ENDLESS = dataclasses.replace(CONFIG, total_environment_frames=2**60)


def with_reward(unrolls: Unroll, value: float) -> Unroll:
    """Sets one reward of sequence 2, whose task has the larger rewards, to `value`."""
    unrolls.reward[2, 1] = value
    return unrolls


def with_logit(unrolls: Unroll, value: float) -> Unroll:
    unrolls.behaviour_logits[2, 1, 0] = value
    return unrolls


def with_feature(unrolls: Unroll, value: float) -> Unroll:
    unrolls.inputs.features[0, 0, 0] = value
    return unrolls


def with_huge_rewards(unrolls: Unroll, value: float) -> Unroll:
    """Sets two rewards of one task so that their squared distances from the mean overflow float32.

    The variance becomes infinite and sigma is clipped, so loss and gradient stay finite.
    """
    for b, t in ((1, 3), (2, 1)):
        unrolls.reward[b, t] = value
        unrolls.behaviour_logits[b, t, unrolls.action[b, t]] = -10.0  # rho > 1
    return unrolls


BAD: dict[str, Callable[[Unroll], Unroll]] = {
    "NaN reward": lambda unrolls: with_reward(unrolls, np.nan),
    "infinite reward": lambda unrolls: with_reward(unrolls, -np.inf),
    "infinite behaviour logit": lambda unrolls: with_logit(unrolls, np.inf),
    "NaN behaviour logit": lambda unrolls: with_logit(unrolls, np.nan),
    "NaN features": lambda unrolls: with_feature(unrolls, np.nan),
    "overflowing variance": lambda unrolls: with_huge_rewards(unrolls, 2.2e19),
}


def samples(*unrolls: Unroll) -> Iterator[reverb.ReplaySample]:
    return iter([reverb.ReplaySample(info=None, data=x) for x in unrolls])


def assert_same_bits(actual: Any, expected: Any) -> None:
    """Compares the arrays, not the counts."""

    def compare(a: Any, b: Any) -> None:
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()

    for name in ("params", "opt_state", "popart"):
        jax.tree.map(compare, getattr(actual, name), getattr(expected, name))


@pytest.mark.parametrize("bad", BAD)
def test_an_update_that_is_not_finite_changes_nothing(bad: str) -> None:
    good = [random_unrolls(seed) for seed in range(3)]
    logger = InMemoryLogger()
    learner = make_learner(
        ENDLESS,
        samples(good[0], BAD[bad](random_unrolls(9)), *good[1:]),
        logger=logger,
        log_interval=0.0,
    )
    reference = make_learner(ENDLESS, samples(*good))
    for each in (learner, reference):
        each.restore(with_statistics(each))
        each.step()
    before = learner.save()
    learner.step()
    after = learner.save()
    assert_same_bits(after, before)
    assert (after.steps, after.frames) == (before.steps + 1, before.frames + 4 * T * B)
    row = logger.data[-1]
    assert np.isfinite([row["loss"], row["gradient_norm"]]).all() == (bad == "overflowing variance")
    # Training continues as if the batch had never come.
    for _ in range(2):
        learner.step()
        reference.step()
        assert_same_bits(learner.save(), reference.save())
        assert learner.save().steps == reference.save().steps + 1


def test_a_gradient_that_overflows_is_skipped() -> None:
    """Loss and statistics are finite, but the sum of the squared gradient is not."""
    config = dataclasses.replace(ENDLESS, popart=False)
    state = jax.tree.map(jnp.asarray, make_learner(config).save())
    unrolls = with_reward(random_unrolls(0), 1e19)
    unrolls.behaviour_logits[2, 1] = -10.0 * np.eye(NUM_ACTIONS)[unrolls.action[2, 1]]  # rho > 1
    unrolls.inputs.features[2] *= 10
    update = make_update(NETWORKS[False], config, stacked=False)
    before = jax.device_get(state)
    *after, metrics = update(state.params, state.opt_state, state.popart, unrolls, np.float32(0.1))
    assert np.isfinite(metrics["loss"])
    assert not np.isfinite(metrics["gradient_norm"])
    assert metrics["skipped"]
    assert_same_bits(before._replace(params=after[0], opt_state=after[1], popart=after[2]), before)


def test_optimiser_state_that_is_not_finite_does_not_reach_the_parameters() -> None:
    learner = make_learner()
    state = learner.save()
    broken = jax.tree.map(lambda x: np.full_like(x, np.nan), state.opt_state)
    learner.restore(state._replace(opt_state=broken))
    learner.step()
    assert_same_bits(learner.save(), state._replace(opt_state=broken))


def test_skipped_updates_are_counted_though_rows_are_rare() -> None:
    logger = InMemoryLogger()
    counter = counting.Counter()
    bad = "bb.b..b.b"  # the row is written after the last update, which counts too
    unrolls = [
        BAD["NaN reward"](random_unrolls(i)) if x == "b" else random_unrolls(i)
        for i, x in enumerate(bad)
    ]
    learner = make_learner(
        ENDLESS, samples(*unrolls), counter=counter, logger=logger, log_interval=1e6
    )
    for _ in bad[:-1]:
        learner.step()
    assert logger.data == []
    learner._log_interval = 0.0
    learner.step()
    (row,) = logger.data
    assert row["skipped_updates"] == bad.count("b")
    assert np.isnan(row["loss"])
    assert row["learner_steps"] == len(bad)
    assert counter.get_counts() == {"steps": len(bad), "frames": len(bad) * 4 * T * B}


def test_rows_that_are_not_finite_can_be_written(tmp_path: pathlib.Path) -> None:
    from launch_programs.run.metrics import CSVTable, RowLogger, read_rows

    tasks = [f"task_{i}" for i in range(NUM_TASKS)]
    table = CSVTable(tmp_path / "learner.csv")
    learner = make_learner(
        dataset=samples(random_unrolls(0), BAD["NaN reward"](random_unrolls(1))),
        logger=RowLogger(lambda row: table.append([row]), tasks),
        log_interval=0.0,
    )
    learner.step()
    learner.step()
    first, second = read_rows(tmp_path / "learner.csv")
    assert (first["skipped_updates"], second["skipped_updates"]) == ("0", "1")
    assert np.isfinite(float(first["loss"]))
    assert np.isnan(float(second["loss"]))


@pytest.mark.parametrize("log_interval", [0.0, 1e6])
def test_learning_ends_after_many_skipped_updates_in_a_row(log_interval: float) -> None:
    bad = [BAD["NaN reward"](random_unrolls(i)) for i in range(2 * MAX_SKIPPED_IN_A_ROW)]
    bad[-2] = BAD["infinite behaviour logit"](bad[-2])
    few = bad[: MAX_SKIPPED_IN_A_ROW - 1]
    rest = bad[-MAX_SKIPPED_IN_A_ROW:]
    unrolls = [*few, random_unrolls(50), *rest, random_unrolls(51), random_unrolls(52)]
    logger = InMemoryLogger()
    learner = make_learner(ENDLESS, samples(*unrolls), logger=logger, log_interval=log_interval)
    learner.restore(learner.save()._replace(steps=100))
    for _ in [*few, "good", *rest]:
        learner.step()
    good = learner.save()
    for _ in range(2):  # the error persists
        with pytest.raises(NonFiniteUpdates) as raised:
            learner.step()
        assert raised.value.step == 100 + len(few) + 1 + len(rest)
        assert_equal(raised.value.batch, rest[-1])
        assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(raised.value.batch))
        assert f"learner step {raised.value.step}: the last {MAX_SKIPPED_IN_A_ROW}" in str(
            raised.value
        )
        assert "Not finite: batch.reward (1 of 20)." in str(raised.value)
    # What will be saved is the state from before the bad batches.
    assert_equal(learner.save(), good)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(good))
    if log_interval == 0.0:
        assert logger.data[-1]["skipped_updates"] == len(few) + len(rest)


def test_the_last_update_before_the_data_ends_counts() -> None:
    bad = [BAD["infinite behaviour logit"](random_unrolls(i)) for i in range(MAX_SKIPPED_IN_A_ROW)]
    learner = make_learner(dataset=samples(*bad))
    for _ in bad:
        learner.step()
    with pytest.raises(NonFiniteUpdates, match="batch.behaviour_logits .1 of 60.") as raised:
        learner.step()
    assert raised.value.step == MAX_SKIPPED_IN_A_ROW
    assert_equal(raised.value.batch, bad[-1])


def test_the_cause_may_lie_in_the_state_or_in_neither() -> None:
    learner = make_learner()
    state = learner.save()
    params = jax.tree.map(np.copy, state.params)
    params[VALUE_HEAD]["b"][1] = np.nan
    # The last task is absent from the batch.
    statistics = state.popart._replace(variance=jax.device_get(jnp.array([1.0, 1.0, np.inf])))
    for broken, found in (
        (state._replace(params=params), "params"),
        (state._replace(popart=statistics), "popart"),
    ):
        learner.restore(broken)
        for _ in range(MAX_SKIPPED_IN_A_ROW):
            learner.step()
        with pytest.raises(NonFiniteUpdates, match=rf"Not finite: {found}\S+ \(1 of 3\)\."):
            learner.step()
        assert_same_bits(learner.save(), broken)

    huge = [with_reward(random_unrolls(i), 1e21) for i in range(MAX_SKIPPED_IN_A_ROW)]
    learner = make_learner(dataset=samples(*huge))
    for _ in huge:
        learner.step()
    with pytest.raises(NonFiniteUpdates, match="are finite, so numbers overflowed"):
        learner.step()


# The time that the learner waits.


def test_waiting_share(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def dataset() -> Iterator[reverb.ReplaySample]:
        nonlocal now
        for seconds in (1.0, 2.0, 3.0, 0.0):
            now += seconds
            yield from samples(random_unrolls(0))

    class SlowCounter(counting.Counter):
        def increment(self, **counts: Any) -> Any:
            nonlocal now
            now += 3.0  # stands for the learner's own work
            return super().increment(**counts)

    logger = InMemoryLogger()
    learner = make_learner(
        dataset=dataset(), counter=SlowCounter(), logger=logger, log_interval=8.5
    )
    for _ in range(4):
        learner.step()
    # Each row covers two steps and is written after the second.
    assert [row["waiting_share"] for row in logger.data] == [3.0 / 9.0, 3.0 / 9.0]


def test_a_learner_with_a_slow_queue_waits() -> None:
    def slow() -> Iterator[reverb.ReplaySample]:
        for sample in batches():
            time.sleep(0.3)
            yield sample

    shares = {}
    made = samples(*[random_unrolls(seed) for seed in range(3)])
    for name, dataset in (("slow", slow()), ("fast", made)):
        logger = InMemoryLogger()
        learner = make_learner(dataset=dataset, logger=logger, log_interval=0.0)
        for _ in range(3):  # the first one compiles
            learner.step()
        shares[name] = logger.data[-1]["waiting_share"]
    assert 0.5 < shares["slow"] <= 1.0
    assert 0.0 <= shares["fast"] < 0.5


# Saving, restoring, publishing.


def test_a_restored_learner_continues_bit_for_bit() -> None:
    learner = make_learner()
    for _ in range(3):
        learner.step()
    saved = learner.save()
    for _ in range(3):
        learner.step()
    other = make_learner(dataset=batches(start=3), key=5)
    other.restore(saved)
    for _ in range(3):
        other.step()
    assert_equal(other.save(), learner.save())
    assert other.save().steps == 6


def test_a_saved_state_does_not_change_while_learning_goes_on() -> None:
    learner = make_learner()
    learner.step()
    saved = learner.save()
    assert all(isinstance(leaf, np.ndarray | np.generic | int) for leaf in jax.tree.leaves(saved))
    copied = jax.tree.map(np.copy, saved)
    learner.step()
    assert_equal(saved, copied)
    learner.restore(saved)
    learner.step()
    assert_equal(saved, copied)


def test_variables_can_be_fetched_while_another_thread_learns() -> None:
    learner = make_learner()
    assert isinstance(learner, acme.VariableSource)
    states = {0: learner.save()}
    fetched: list[PolicyVariables] = []
    enough = threading.Event()

    def fetch() -> None:
        while not enough.is_set():
            fetched.extend(learner.get_variables([POLICY]))

    thread = threading.Thread(target=fetch)
    thread.start()
    while len({variables.step for variables in fetched}) < 10:
        learner.step()
        state = learner.save()
        states[state.steps] = state
        assert thread.is_alive()
    enough.set()
    thread.join()
    for step, variables in {variables.step: variables for variables in fetched}.items():
        assert_equal(variables.params, states[step].params)
        assert_equal(variables.mu, states[step].popart.mean)
        np.testing.assert_allclose(variables.sigma**2, states[step].popart.variance, rtol=1e-6)
        assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(variables[1:]))


def test_variables_are_copied_once_for_each_version() -> None:
    learner = make_learner()
    learner.step()
    (first,) = learner.get_variables([POLICY])
    assert learner.get_variables([POLICY])[0] is first
    learner.step()
    (second,) = learner.get_variables([POLICY])
    assert (first.step, second.step) == (1, 2)
    assert_equal(second.params, learner.save().params)
    # Different parameters at the same step, as after a restart.
    other = jax.tree.map(lambda x: x + 1, learner.save().params)
    learner.restore(learner.save()._replace(params=other))
    assert_equal(learner.get_variables([POLICY])[0].params, other)


def test_unknown_variables() -> None:
    with pytest.raises(ValueError, match="unknown variables 'critic'.*'policy'"):
        make_learner().get_variables(["critic"])


# Several devices.


def two_updates() -> list[Array]:
    """Returns the state after two updates as a list of arrays; also called in another process."""
    learner = make_learner(LSTM_CONFIG)
    learner.restore(with_statistics(learner))
    for _ in range(2):
        learner.step()
    return [np.asarray(leaf) for leaf in jax.tree.leaves(learner.save())]


def on_two_devices(path: str) -> None:
    """Saves the result of `two_updates`, and checks that a batch must be divisible by two."""
    assert jax.local_device_count() == 2
    np.savez(path, *two_updates())
    with pytest.raises(ValueError, match="batch_size=3: must be a multiple of the 2 local devices"):
        make_learner(dataclasses.replace(CONFIG, batch_size=3))


@pytest.mark.slow
def test_two_devices_do_what_one_does(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "state.npz"
    subprocess.run(
        [
            sys.executable,
            "-c",
            f"from {__name__} import on_two_devices; on_two_devices({str(path)!r})",
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "XLA_FLAGS": f"{unoptimised()['XLA_FLAGS']} --xla_force_host_platform_device_count=2",
        },
        check=True,
    )
    assert jax.local_device_count() == 1
    one = two_updates()
    two = list(np.load(path).values())
    learner = make_learner(LSTM_CONFIG)
    before = [np.asarray(leaf) for leaf in jax.tree.leaves(with_statistics(learner))]
    assert_close(two, one, before=before)
