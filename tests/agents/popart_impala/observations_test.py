"""Observations without their task's mean: the mean by its definition, and what networks get."""

from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from agents.popart_impala.config import Config
from agents.popart_impala.frame_stacks import FrameSequences, rebuild_stacks, shown_frames
from agents.popart_impala.networks import NETWORKS, Networks, TorsoOutput, make_networks
from agents.popart_impala.networks.observations import OBSERVATION_MEAN, with_observed
from agents.popart_impala.networks.registry import Entry
from agents.popart_impala.networks.single import with_torso
from agents.popart_impala.popart import initial_state
from agents.popart_impala.training_state import make_optimiser
from agents.popart_impala.types import AgentInput, Unroll
from agents.popart_impala.update import make_update, time_major
from environments import StackedFrames

B, T, S = 4, 5, 3
NUM_ACTIONS, NUM_TASKS = 4, 3
SIZE = (36, 40)
VECTOR = specs.Array((5,), np.float32)
IMAGES = StackedFrames((S, *SIZE), np.uint8, 0, 255)
# A stack of vectors.
STACKED = StackedFrames((S, 6), np.float32, -9, 9)
BOARD = specs.BoundedArray((10, 10, 4), np.bool_, False, True)


def make(spec: specs.Array, **options: Any) -> Networks:
    return make_networks(
        Config(hidden_size=16, **options),
        features_spec=spec,
        num_actions=NUM_ACTIONS,
        num_tasks=NUM_TASKS,
    )


def random_unrolls(spec: specs.Array, tasks: list[int], seed: int = 0) -> Unroll:
    """[B, ...], single frames where the spec is of stacks."""
    rng = np.random.default_rng(seed)
    shape = (len(tasks), T + 1, *spec.shape)
    if isinstance(spec, StackedFrames):
        shape = (len(tasks), S - 1 + T + 1, *spec.shape[1:])
    first = rng.random((len(tasks), T + 1)) < 0.3
    assert first[:, 1:].any()
    return Unroll(
        inputs=AgentInput(
            features=(rng.random(shape) * 256).astype(spec.dtype),
            task=np.array(tasks, np.int32),
            previous_action=rng.integers(NUM_ACTIONS, size=first.shape, dtype=np.int32),
            previous_reward=rng.normal(size=first.shape).astype(np.float32),
            first=first,
        ),
        action=rng.integers(NUM_ACTIONS, size=(len(tasks), T), dtype=np.int32),
        reward=rng.normal(size=(len(tasks), T)).astype(np.float32),
        discount=np.where(first[:, 1:], np.float32(0), np.float32(1)),
        behaviour_logits=rng.normal(size=(len(tasks), T, NUM_ACTIONS)).astype(np.float32),
        initial_state=(),
        params_step=np.zeros(len(tasks), np.int32),
    )


@pytest.mark.parametrize(
    ("spec", "network"), [(VECTOR, "mlp"), (IMAGES, "shallow"), (STACKED, "mlp"), (BOARD, "mlp")]
)
def test_the_mean_is_the_average_over_batches(spec: specs.Array, network: str) -> None:
    stacked = isinstance(spec, StackedFrames)
    networks = make(spec, network=network)
    params = networks.init(jax.random.PRNGKey(0))
    seen: dict[int, list[np.ndarray]] = {0: [], 1: [], 2: []}
    # The third task comes late; the second is missing in the last batch.
    for seed, tasks in enumerate([[0, 1, 1, 0], [1, 1, 0, 1], [2, 0, 0, 2]]):
        unrolls = random_unrolls(spec, tasks, seed)
        before = jax.device_get(params[OBSERVATION_MEAN])
        params = with_observed(params, unrolls, stacked)
        last = unrolls.inputs.features[:, -1].astype(np.float64)
        for task in set(tasks):
            seen[task].append(last[np.array(tasks) == task].mean(axis=0))
        for task in {0, 1, 2} - set(tasks):
            jax.tree.map(
                lambda x, y, task=task: np.testing.assert_array_equal(x[task], y[task]),
                params[OBSERVATION_MEAN],
                before,
            )
    mean = params[OBSERVATION_MEAN]["mean"]
    assert mean.shape == (NUM_TASKS, *((1, *spec.shape[1:]) if stacked else spec.shape))
    for task, of_batches in seen.items():
        expected = np.mean(of_batches, axis=0)
        np.testing.assert_allclose(
            mean[task].reshape(expected.shape), expected, rtol=1e-5, atol=1e-4
        )
    np.testing.assert_array_equal(params[OBSERVATION_MEAN]["count"], [3, 2, 1])


def test_without_means_there_are_none() -> None:
    networks = make(VECTOR, network="mlp", centre_observations=False)
    params = networks.init(jax.random.PRNGKey(0))
    assert OBSERVATION_MEAN not in params
    assert with_observed(params, random_unrolls(VECTOR, [0, 1]), False) is params


def with_means(networks: Networks, scale: float) -> Any:
    params = networks.init(jax.random.PRNGKey(0))
    mean = params[OBSERVATION_MEAN]["mean"]
    random = np.random.default_rng(5).random(mean.shape) * scale
    return {
        **params,
        OBSERVATION_MEAN: {**params[OBSERVATION_MEAN], "mean": jnp.asarray(random, jnp.float32)},
    }


@pytest.mark.parametrize("network", [name for name in NETWORKS if name != "minatar"])
def test_frames_held_once_are_the_stacks(network: str) -> None:
    networks = make(IMAGES, network=network)
    params = with_means(networks, 255)
    unrolls = random_unrolls(IMAGES, [0, 2, 1, 2])
    inputs = unrolls.inputs
    stacks = time_major(unrolls, stacked=True).inputs
    frames = stacks._replace(
        features=FrameSequences(
            inputs.features, jax.vmap(shown_frames, in_axes=(0, None))(inputs.first, S)
        )
    )
    unroll = jax.jit(networks.unroll)
    for ours, plain in zip(
        unroll(params, frames, ())[:2], unroll(params, stacks, ())[:2], strict=True
    ):
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-4)
    # The means make a difference, to each task its own.
    without = {**params, OBSERVATION_MEAN: jax.tree.map(jnp.zeros_like, params[OBSERVATION_MEAN])}
    assert (unroll(without, stacks, ()).normalised_values != plain).any()


@pytest.mark.parametrize(
    ("spec", "network"), [(VECTOR, "mlp"), (VECTOR, "attentive"), (BOARD, "minatar")]
)
def test_a_mean_is_subtracted(spec: specs.Array, network: str) -> None:
    """What moves with its task's mean looks as it did."""
    networks = make(spec, network=network)
    params = with_means(networks, 1)
    mean = np.asarray(params[OBSERVATION_MEAN]["mean"])
    inputs = time_major(random_unrolls(spec, [1, 0, 2, 1]), stacked=False).inputs
    shifted = inputs._replace(features=inputs.features + 7.0)
    if spec.dtype == np.bool_:  # its network takes nothing but boards
        shifted = inputs
        mean = mean - 7.0
    moved = {**params, OBSERVATION_MEAN: {**params[OBSERVATION_MEAN], "mean": mean + 7.0}}
    for a, b in zip(
        networks.unroll(params, inputs, ())[:2],
        networks.unroll(moved, shifted, ())[:2],
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_the_updates_with_and_without_stacks_are_the_same() -> None:
    """The learner's whole update on frames held once, and on the stacks they make."""
    config = Config(network="shallow", hidden_size=16, centre_observations=False)
    networks = make_networks(
        config, features_spec=IMAGES, num_actions=NUM_ACTIONS, num_tasks=NUM_TASKS
    )
    params = jax.device_get(networks.init(jax.random.PRNGKey(0)))
    frames = random_unrolls(IMAGES, [0, 2, 1, 2])
    stacks = frames._replace(
        inputs=frames.inputs._replace(
            features=np.asarray(
                jax.vmap(rebuild_stacks)(
                    jnp.asarray(frames.inputs.features), jnp.asarray(frames.inputs.first)
                )
            )
        )
    )
    results = []
    for stacked, unrolls in ((True, frames), (False, stacks)):
        after, *_ = make_update(networks, config, stacked)(
            params,
            make_optimiser(config).init(params),
            initial_state(NUM_TASKS),
            unrolls,
            np.float32(1e-3),
        )
        results.append(after)
    moved = jax.tree.map(lambda x, y: np.abs(x - y).max() > 1e-5, results[0], params)
    assert all(jax.tree.leaves(moved))
    # Adam's first step is the gradient's sign: where it is all but 0, rounding decides.
    for ours, plain in zip(*map(jax.tree.leaves, results), strict=True):
        assert np.mean(np.abs(ours - plain) > 1e-5) < 1e-3


def test_a_torso_of_ones_own_gets_centred_arrays() -> None:
    class Torso(hk.Module):
        def __init__(self, config: Any, num_tasks: int):
            super().__init__(name="own")

        def __call__(self, features: jax.Array, task: jax.Array) -> TorsoOutput:
            del task
            return TorsoOutput(features)

    NETWORKS["own"] = Entry(with_torso(Torso))
    try:
        networks = make(VECTOR, network="own")
    finally:
        del NETWORKS["own"]
    params = with_means(networks, 1)
    inputs = time_major(random_unrolls(VECTOR, [1, 0, 2, 1]), stacked=False).inputs
    # The policy head shows the embedding.
    head = {**params["policy_head"], "w": jnp.eye(VECTOR.shape[0] + NUM_ACTIONS + 1, NUM_ACTIONS)}
    logits = networks.unroll({**params, "policy_head": head}, inputs, ()).logits
    centred = inputs.features - params[OBSERVATION_MEAN]["mean"][inputs.task]
    np.testing.assert_allclose(logits, centred[..., :NUM_ACTIONS], rtol=1e-6)
