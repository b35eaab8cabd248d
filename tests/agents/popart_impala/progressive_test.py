"""Columns: frozen ones stay the same bit for bit; a new one learns from them and is measured."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from agents.popart_impala import popart
from agents.popart_impala.config import Config
from agents.popart_impala.networks import VALUE_HEAD, Networks, make_networks
from agents.popart_impala.networks.observations import OBSERVATION_STATISTICS
from agents.popart_impala.networks.progressive import grow, layer_names, make_sensitivity
from agents.popart_impala.training_state import make_optimiser
from agents.popart_impala.types import AgentInput, Unroll
from agents.popart_impala.update import make_update

T, B, NUM_ACTIONS = 4, 6, 3
VECTOR = specs.Array((5,), np.float32, "vector")
IMAGES = specs.BoundedArray((2, 36, 36), np.uint8, 0, 255, "images")
CASES = [(VECTOR, False), (VECTOR, True), (IMAGES, False)]


def build(spec: specs.Array, columns: tuple[int, ...], num_tasks: int, use_lstm: bool) -> Networks:
    config = Config(
        network="progressive", use_lstm=use_lstm, hidden_size=16, frozen_columns=columns
    )
    return make_networks(config, features_spec=spec, num_actions=NUM_ACTIONS, num_tasks=num_tasks)


def random_features(rng: np.random.Generator, spec: specs.Array, *leading: int) -> np.ndarray:
    if spec.dtype == np.uint8:
        return rng.integers(0, 256, (*leading, *spec.shape), np.uint8)
    return rng.normal(size=(*leading, *spec.shape)).astype(np.float32)


def random_unrolls(spec: specs.Array, task: list[int], state: Any, seed: int) -> Unroll:
    """A batch [B, ...] that cycles through these tasks."""
    rng = np.random.default_rng(seed)
    return Unroll(
        inputs=AgentInput(
            features=random_features(rng, spec, B, T + 1),
            task=np.resize(task, B).astype(np.int32),
            previous_action=rng.integers(NUM_ACTIONS, size=(B, T + 1), dtype=np.int32),
            previous_reward=rng.normal(size=(B, T + 1)).astype(np.float32),
            first=rng.random((B, T + 1)) < 0.2,
        ),
        action=rng.integers(NUM_ACTIONS, size=(B, T), dtype=np.int32),
        reward=(100 * rng.normal(size=(B, T))).astype(np.float32),
        discount=np.ones((B, T), np.float32),
        truncation_value=np.zeros((B, T), np.float32),
        behaviour_logits=rng.normal(size=(B, T, NUM_ACTIONS)).astype(np.float32),
        initial_state=state,
        params_step=np.zeros(B, np.int32),
    )


def train(
    networks: Networks, params: Any, spec: specs.Array, tasks: list[int], updates: int = 3
) -> tuple[Any, Any, popart.PopArtState]:
    """Trains on batches of these tasks; gives params before and after, and the statistics after."""
    config = Config(learning_rate=1e-2, popart_step_size=0.1)
    update = make_update(networks, config, stacked=False)
    before = jax.device_get(params)
    state = (params, make_optimiser(config).init(params), popart.initial_state(networks.num_tasks))
    for seed in range(updates):
        batch = random_unrolls(spec, tasks, networks.initial_state(B), seed)
        *state, _ = update(*state, batch, np.float32(1e-2))
    return before, jax.device_get(state[0]), jax.device_get(state[2])


def heads_of(networks: Networks, params: Any, spec: specs.Array, task: int) -> list[np.ndarray]:
    """Logits and the task's own values on random inputs."""
    batch = random_unrolls(spec, [task], networks.initial_state(B), seed=9)
    inputs = jax.tree.map(lambda x: np.swapaxes(x, 0, 1), batch.inputs._replace(task=()))
    inputs = inputs._replace(task=np.full((T + 1, B), task, np.int32))
    output = jax.jit(networks.unroll)(params, inputs, batch.initial_state)
    return [np.asarray(output.logits), np.asarray(output.normalised_values[..., task])]


@pytest.mark.parametrize(("spec", "use_lstm"), CASES)
def test_a_frozen_column_stays_as_it_is_to_the_bit(spec: specs.Array, use_lstm: bool) -> None:
    old_networks = build(spec, (), 2, use_lstm)
    networks = build(spec, (2,), 3, use_lstm)
    old = jax.device_get(old_networks.init(jax.random.PRNGKey(0)))
    grown = grow(old, jax.device_get(networks.init(jax.random.PRNGKey(1))))
    first = [heads_of(networks, grown, spec, task) for task in range(3)]
    before, after, statistics = train(networks, grown, spec, tasks=[2])

    for module, values in old.items():
        for name, x in values.items():
            kept = after[module][name]
            if module == VALUE_HEAD:
                kept = kept[..., : x.shape[-1]]
            if module == OBSERVATION_STATISTICS:
                kept = kept[: len(x)]
                assert after[module][name][len(x) :].any()
            np.testing.assert_array_equal(kept, x, err_msg=f"{module} {name}")
    new_modules = set(grown) - set(old)
    assert new_modules
    for module in new_modules:
        for name, x in after[module].items():
            assert (x != before[module][name]).any(), f"{module} {name} has not learned"
    np.testing.assert_array_equal(statistics.mean[:2], 0)
    np.testing.assert_array_equal(statistics.variance[:2], 1)
    assert statistics.mean[2] != 0

    for task in range(2):
        outputs = heads_of(networks, after, spec, task)
        jax.tree.map(np.testing.assert_array_equal, outputs, first[task])
        # The earlier network, compiled as a different XLA program, agrees up to rounding.
        for ours, its in zip(outputs, heads_of(old_networks, old, spec, task), strict=True):
            np.testing.assert_allclose(ours, its, rtol=1e-5, atol=1e-5)
    assert (heads_of(networks, after, spec, 2)[0] != first[2][0]).all()


def test_frozen_columns_learn_nothing_even_from_their_own_tasks() -> None:
    networks = build(VECTOR, (1, 1), 3, use_lstm=True)
    params = networks.init(jax.random.PRNGKey(0))
    # Checks gradients, since PopArt's preservation moves the value head if there are samples.
    batch = random_unrolls(VECTOR, [0, 1, 2], networks.initial_state(B), seed=0)
    inputs = jax.tree.map(lambda x: np.swapaxes(x, 0, 1), batch.inputs._replace(task=()))
    inputs = inputs._replace(task=np.tile(batch.inputs.task, (T + 1, 1)))

    def loss(params: Any) -> jax.Array:
        output = networks.unroll(params, inputs, batch.initial_state)
        return jnp.sum(output.logits**2) + jnp.sum(output.normalised_values**2)

    for module, values in jax.jit(jax.grad(loss))(params).items():
        newest = "column_2" in module or module in {"lstm_2", "policy_head_2"}
        for name, gradient in values.items():
            if module == VALUE_HEAD:
                assert not gradient[..., :2].any()
                assert gradient[..., 2].any()
            elif "alpha" in name:
                assert gradient.any() == ("column_2" in name), name
            else:
                assert gradient.any() == newest, (module, name)


def test_the_new_column_depends_on_the_old_one() -> None:
    networks = build(VECTOR, (1,), 2, use_lstm=False)
    params = jax.device_get(networks.init(jax.random.PRNGKey(0)))
    before = heads_of(networks, params, VECTOR, 1)[0]
    name = next(name for name in params if "column_0_linear_0" in name)
    changed = {**params, name: jax.tree.map(lambda x: x + 1, params[name])}
    assert (heads_of(networks, changed, VECTOR, 1)[0] != before).all()
    # And not the other way round.
    name = next(name for name in params if "column_1_linear_0" in name and "adapter" not in name)
    changed = {**params, name: jax.tree.map(lambda x: x + 1, params[name])}
    unchanged = heads_of(networks, params, VECTOR, 0)
    jax.tree.map(np.testing.assert_array_equal, heads_of(networks, changed, VECTOR, 0), unchanged)


def test_growing_refuses_what_does_not_fit() -> None:
    new = build(VECTOR, (1,), 2, use_lstm=False).init(jax.random.PRNGKey(0))
    mlp = make_networks(
        Config(network="mlp"), features_spec=VECTOR, num_actions=NUM_ACTIONS, num_tasks=1
    )
    with pytest.raises(ValueError, match="has no place in the new one: both must be progressive"):
        grow(mlp.init(jax.random.PRNGKey(0)), new)
    with pytest.raises(ValueError, match="lstm_0.*has no place"):
        grow(build(VECTOR, (), 1, use_lstm=True).init(jax.random.PRNGKey(0)), new)


def test_a_column_must_be_left_to_learn() -> None:
    with pytest.raises(ValueError, match=r"frozen_columns=\(1, 2\): have 3 tasks.* not 3"):
        build(VECTOR, (1, 2), 3, use_lstm=False)


@pytest.mark.parametrize(("spec", "use_lstm"), CASES)
def test_derivatives_of_the_sensitivity(spec: specs.Array, use_lstm: bool) -> None:
    """Against differences of log pi when one feature of the last layer is moved by its bias."""
    networks = build(spec, (1,), 2, use_lstm)
    config = Config(network="progressive", use_lstm=use_lstm, hidden_size=16, frozen_columns=(1,))
    sensitivity = make_sensitivity(config, features_spec=spec, num_actions=NUM_ACTIONS, num_tasks=2)
    params = jax.device_get(networks.init(jax.random.PRNGKey(0)))
    # All units are active, far from ReLU's bend, so a unit moves by as much as its bias.
    last = layer_names(spec)[-1]
    for column in range(2):
        module = next(n for n in params if n.endswith(f"column_{column}_{last}"))
        params[module] = {**params[module], "b": np.full_like(params[module]["b"], 30.0)}
    batch = random_unrolls(spec, [1], networks.initial_state(B), seed=3)
    inputs = jax.tree.map(lambda x: x[:, 0], batch.inputs._replace(task=()))
    inputs = inputs._replace(task=np.ones(B, np.int32))
    action = batch.action[:, 0]
    activations, derivatives = sensitivity(params, inputs, batch.initial_state, action)
    assert len(activations) == len(layer_names(spec))
    assert all(len(layer) == 2 for layer in activations)

    jitted = jax.jit(networks.step)

    def log_pi(params: Any) -> np.ndarray:
        output, _ = jitted(params, inputs, batch.initial_state)
        return np.asarray(jax.nn.log_softmax(output.logits))[np.arange(B), action]

    for column in range(2):
        module = next(n for n in params if n.endswith(f"column_{column}_{last}"))
        assert (np.asarray(activations[-1][column]) > 0).all()
        for unit in range(3):
            moved = []
            for step in (0.05, -0.05):
                bias = np.array(params[module]["b"])
                bias[unit] += step
                moved.append(log_pi({**params, module: {**params[module], "b": bias}}))
            np.testing.assert_allclose(
                derivatives[-1][column][:, unit], (moved[0] - moved[1]) / 0.1, rtol=0.02, atol=1e-3
            )
