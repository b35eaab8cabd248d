"""Images normalised per task: statistics against their definition, and what networks get."""

from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from agents.popart_impala.config import Config
from agents.popart_impala.networks import NETWORKS, Networks, TorsoOutput, make_networks
from agents.popart_impala.networks.observations import OBSERVATION_STATISTICS, with_observed
from agents.popart_impala.networks.registry import Entry
from agents.popart_impala.networks.single import with_torso
from agents.popart_impala.types import AgentInput, Unroll
from agents.popart_impala.update import time_major
from environments import StackedFrames

B, T, S = 4, 5, 3
NUM_ACTIONS, NUM_TASKS = 4, 3
SIZE = (36, 40)
VECTOR = specs.Array((5,), np.float32)
IMAGES = StackedFrames((S, *SIZE), np.uint8, 0, 255)
COLOUR = specs.BoundedArray((3, *SIZE), np.uint8, 0, 255)
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
    """Unrolls [B, ...], with single frames if the spec is of stacks."""
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


@pytest.mark.parametrize("spec", [IMAGES, COLOUR], ids=["stacks", "colour"])
def test_the_statistics_are_those_of_all_batches(spec: specs.Array) -> None:
    stacked = isinstance(spec, StackedFrames)
    networks = make(spec, network="shallow")
    params = networks.init(jax.random.PRNGKey(0))
    seen: dict[int, list[np.ndarray]] = {0: [], 1: [], 2: []}
    # The third task comes late; the second is missing from the last batch.
    for seed, tasks in enumerate([[0, 1, 1, 0], [1, 1, 0, 1], [2, 0, 0, 2]]):
        unrolls = random_unrolls(spec, tasks, seed)
        before = jax.device_get(params[OBSERVATION_STATISTICS])
        params = with_observed(params, unrolls, stacked)
        last = unrolls.inputs.features[:, -1].astype(np.float64)
        for task in set(tasks):
            seen[task].append(last[np.array(tasks) == task])
        for task in {0, 1, 2} - set(tasks):
            jax.tree.map(
                lambda x, y, task=task: np.testing.assert_array_equal(x[task], y[task]),
                params[OBSERVATION_STATISTICS],
                before,
            )
    statistics = params[OBSERVATION_STATISTICS]
    shape = (1, *spec.shape[1:]) if stacked else spec.shape
    for task, of_batches in seen.items():
        mean = np.mean([last.mean(axis=0) for last in of_batches], axis=0)
        square = np.mean([(last**2).mean(axis=0) for last in of_batches], axis=0)
        for name, expected in (("mean", mean), ("variance", square - mean**2)):
            assert statistics[name].shape == (NUM_TASKS, *shape)
            np.testing.assert_allclose(
                statistics[name][task],
                expected.reshape(shape),
                rtol=1e-4,
                atol=1e-5 * np.abs(expected).max(),
            )
    np.testing.assert_array_equal(params[OBSERVATION_STATISTICS]["count"], [3, 2, 1])


@pytest.mark.parametrize(
    ("spec", "options"),
    [(VECTOR, {}), (STACKED, {}), (BOARD, {}), (IMAGES, {"normalise_images": False})],
    ids=["vectors", "stacks of vectors", "boards", "not wanted"],
)
def test_nothing_else_is_normalised(spec: specs.Array, options: dict[str, Any]) -> None:
    stacked = isinstance(spec, StackedFrames)
    networks = make(spec, network="mlp", **options)
    params = networks.init(jax.random.PRNGKey(0))
    assert OBSERVATION_STATISTICS not in params
    assert with_observed(params, random_unrolls(spec, [0, 1]), stacked) is params
    inputs = time_major(random_unrolls(spec, [1, 0, 2, 1]), stacked).inputs
    plain = make(specs.Array(spec.shape, np.float32), network="mlp")
    numbers = inputs._replace(features=inputs.features.astype(np.float32))
    for ours, expected in zip(
        networks.unroll(params, inputs, ())[:2], plain.unroll(params, numbers, ())[:2], strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def with_random_statistics(networks: Networks) -> Any:
    """Parameters with random mean and variance."""
    rng = np.random.default_rng(5)
    params = networks.init(jax.random.PRNGKey(0))
    shape = params[OBSERVATION_STATISTICS]["mean"].shape
    return {
        **params,
        OBSERVATION_STATISTICS: {
            **params[OBSERVATION_STATISTICS],
            "mean": jnp.asarray(255 * rng.random(shape, np.float32)),
            "variance": jnp.asarray(100**2 * rng.random(shape, np.float32)),
        },
    }


def normalised(params: Any, features: Any, task: Any) -> np.ndarray:
    """Normalises features by the definition."""
    mean, variance = (params[OBSERVATION_STATISTICS][name][task] for name in ("mean", "variance"))
    return np.clip((features - mean) / (np.sqrt(variance) + 4), -5, 5).astype(np.float32)


@pytest.mark.parametrize("spec", [IMAGES, COLOUR], ids=["stacks", "colour"])
def test_the_network_sees_normalised_images(spec: specs.Array) -> None:
    """Compares with a network without normalisation that is given normalised images."""
    networks = make(spec, network="mlp")
    params = with_random_statistics(networks)
    inputs = time_major(random_unrolls(spec, [1, 0, 2, 1]), isinstance(spec, StackedFrames)).inputs
    plain = make(specs.Array(spec.shape, np.float32), network="mlp")
    seen = inputs._replace(features=normalised(params, inputs.features, inputs.task))
    learned = {module: x for module, x in params.items() if module != OBSERVATION_STATISTICS}
    for ours, expected in zip(
        networks.unroll(params, inputs, ())[:2], plain.unroll(learned, seen, ())[:2], strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_a_torso_of_ones_own_gets_normalised_images() -> None:
    class Torso(hk.Module):
        def __init__(self, config: Any, num_tasks: int):
            super().__init__(name="own")

        def __call__(self, features: jax.Array, task: jax.Array) -> TorsoOutput:
            del task
            return TorsoOutput(hk.Flatten()(features))

    NETWORKS["own"] = Entry(with_torso(Torso))
    try:
        networks = make(COLOUR, network="own")
    finally:
        del NETWORKS["own"]
    params = with_random_statistics(networks)
    inputs = time_major(random_unrolls(COLOUR, [1, 0, 2, 1]), stacked=False).inputs
    # The policy head copies the embedding's first entries.
    head = params["policy_head"]
    head = {**head, "w": jnp.eye(*head["w"].shape)}
    logits = networks.unroll({**params, "policy_head": head}, inputs, ()).logits
    seen = normalised(params, inputs.features, inputs.task)
    np.testing.assert_allclose(logits, seen[..., 0, 0, :NUM_ACTIONS], rtol=1e-5)
