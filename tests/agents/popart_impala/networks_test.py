"""Networks: one step and a whole unroll agree, episodes do not see each other, sizes, errors."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from agents.popart_impala.networks import VALUE_HEAD, Networks, default_torso, make_networks
from agents.popart_impala.types import AgentInput

T, B = 6, 2
NUM_ACTIONS, NUM_TASKS = 5, 3
IMAGES = specs.BoundedArray((4, 36, 44), np.uint8, 0, 255, "frames")
VECTOR = specs.Array((7,), np.float32, "vector")

# PopArt-IMPALA's networks: their policy is not told the task.
NETWORKS = [
    pytest.param(name, spec, use_lstm, id=f"{name}{'-lstm' if use_lstm else ''}")
    for name, spec in (("shallow", IMAGES), ("mlp", VECTOR))
    for use_lstm in (False, True)
]


def make(name: str, spec: specs.Array, use_lstm: bool) -> Networks:
    return make_networks(
        name,
        features_spec=spec,
        num_actions=NUM_ACTIONS,
        num_tasks=NUM_TASKS,
        use_lstm=use_lstm,
    )


def random_inputs(spec: specs.Array, seed: int = 0) -> AgentInput:
    """[T, B] inputs; episodes start at times 0 and 3 in sequence 0, at 2, 3 and 5 in sequence 1."""
    rng = np.random.default_rng(seed)
    first = np.zeros((T, B), bool)
    first[[0, 3], 0] = True
    first[[2, 3, 5], 1] = True
    if spec.dtype == np.uint8:
        features = rng.integers(0, 256, (T, B, *spec.shape), dtype=np.uint8)
    else:
        features = rng.normal(size=(T, B, *spec.shape)).astype(np.float32)
    return AgentInput(
        features=features,
        task=rng.integers(NUM_TASKS, size=(T, B), dtype=np.int32),
        previous_action=rng.integers(NUM_ACTIONS, size=(T, B), dtype=np.int32),
        previous_reward=rng.normal(size=(T, B)).astype(np.float32),
        first=first,
    )


def random_state(networks: Networks) -> Any:
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda x: rng.normal(size=x.shape).astype(np.float32), networks.initial_state(B)
    )


def outputs(networks: Networks, inputs: AgentInput, state: Any) -> np.ndarray:
    """All outputs of `unroll`, [T, B, num_actions + num_tasks]."""
    params = networks.init(jax.random.PRNGKey(0))
    return np.concatenate(jax.jit(networks.unroll)(params, inputs, state), axis=-1)


@pytest.mark.parametrize(("name", "spec", "use_lstm"), NETWORKS)
def test_unroll_is_step_after_step(name: str, spec: specs.Array, use_lstm: bool) -> None:
    networks = make(name, spec, use_lstm)
    params = networks.init(jax.random.PRNGKey(0))
    inputs, state = random_inputs(spec), random_state(networks)
    unrolled = outputs(networks, inputs, state)
    assert unrolled.shape == (T, B, NUM_ACTIONS + NUM_TASKS)
    step = jax.jit(networks.step)
    for t in range(T):
        output, state = step(params, jax.tree.map(lambda x, t=t: x[t], inputs), state)
        assert output.logits.shape == (B, NUM_ACTIONS)
        assert output.normalised_values.shape == (B, NUM_TASKS)
        np.testing.assert_allclose(
            np.concatenate(output, axis=-1), unrolled[t], rtol=1e-4, atol=1e-5
        )


def test_an_episode_does_not_see_the_one_before() -> None:
    networks = make("mlp", VECTOR, use_lstm=True)
    inputs, state = random_inputs(VECTOR), random_state(networks)
    before = outputs(networks, inputs, state)
    # Other features up to the last start of an episode, and another state at the beginning.
    features = np.array(inputs.features)
    features[:3, 0] += 1.0
    features[:5, 1] += 1.0
    state = jax.tree.map(lambda x: x + 1.0, state)
    after = outputs(networks, inputs._replace(features=features), state)
    np.testing.assert_array_equal(before[3:, 0], after[3:, 0])
    np.testing.assert_array_equal(before[5:, 1], after[5:, 1])
    # Within an episode the past counts.
    no_starts = inputs._replace(first=np.zeros((T, B), bool))
    continued = outputs(networks, no_starts, state)
    changed = outputs(networks, no_starts._replace(features=features), state)
    assert (np.abs(continued - changed)[-1] > 1e-4).all()


def test_the_state_at_an_episodes_start_is_the_initial_one() -> None:
    networks = make("mlp", VECTOR, use_lstm=True)
    params = networks.init(jax.random.PRNGKey(0))
    inputs = jax.tree.map(lambda x: x[0], random_inputs(VECTOR))
    start = inputs._replace(first=np.ones(B, bool))
    continued = inputs._replace(first=np.zeros(B, bool))
    output, state = networks.step(params, start, random_state(networks))
    expected, expected_state = networks.step(params, continued, networks.initial_state(B))
    jax.tree.map(np.testing.assert_array_equal, (output, state), (expected, expected_state))


@pytest.mark.parametrize(("name", "spec", "use_lstm"), NETWORKS)
def test_outputs_do_not_depend_on_the_task(name: str, spec: specs.Array, use_lstm: bool) -> None:
    networks = make(name, spec, use_lstm)
    inputs, state = random_inputs(spec), random_state(networks)
    other = inputs._replace(task=(inputs.task + 1) % NUM_TASKS)
    np.testing.assert_array_equal(outputs(networks, inputs, state), outputs(networks, other, state))


def test_previous_action_and_clipped_reward_are_inputs() -> None:
    networks = make("mlp", VECTOR, use_lstm=False)
    inputs = random_inputs(VECTOR)

    def rewarded(reward: float) -> np.ndarray:
        previous = np.full((T, B), reward, np.float32)
        return outputs(networks, inputs._replace(previous_reward=previous), ())

    np.testing.assert_array_equal(rewarded(1.0), rewarded(500.0))
    np.testing.assert_array_equal(rewarded(-1.0), rewarded(-7.0))
    assert (rewarded(0.5) != rewarded(1.0)).all()
    other = (inputs.previous_action + 1) % NUM_ACTIONS
    acted = outputs(networks, inputs._replace(previous_action=other), ())
    assert (acted != outputs(networks, inputs, ())).all()


@pytest.mark.parametrize("use_lstm", [False, True])
def test_number_of_parameters_of_the_shallow_network(use_lstm: bool) -> None:
    atari = specs.BoundedArray((4, 84, 84), np.uint8, 0, 255, "frames")
    networks = make_networks(
        "shallow", features_spec=atari, num_actions=18, num_tasks=57, use_lstm=use_lstm
    )
    # 84 x 84 -> (84 - 8) / 4 + 1 = 20 -> (20 - 4) / 2 + 1 = 9, with 32 channels: 2592.
    torso = (8 * 8 * 4 * 16 + 16) + (4 * 4 * 16 * 32 + 32) + (2592 * 256 + 256)
    core = 256 + 18 + 1  # with the previous action and reward
    lstm = 0
    if use_lstm:
        lstm = (core + 256) * 4 * 256 + 4 * 256
        core = 256
    heads = (core + 1) * (18 + 57)
    params = jax.eval_shape(networks.init, jax.random.PRNGKey(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == torso + lstm + heads
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(("use_lstm", "core"), [(False, 256 + NUM_ACTIONS + 1), (True, 256)])
def test_the_value_head_is_found_by_its_name(use_lstm: bool, core: int) -> None:
    networks = make("mlp", VECTOR, use_lstm)
    params = networks.init(jax.random.PRNGKey(0))
    assert {name: x.shape for name, x in params[VALUE_HEAD].items()} == {
        "w": (core, NUM_TASKS),
        "b": (NUM_TASKS,),
    }
    # It is the last layer: twice its parameters, twice the values, the same policy.
    doubled = {**params, VALUE_HEAD: jax.tree.map(lambda x: 2 * x, params[VALUE_HEAD])}
    inputs, state = random_inputs(VECTOR), random_state(networks)
    before = networks.unroll(params, inputs, state)
    after = networks.unroll(doubled, inputs, state)
    np.testing.assert_array_equal(after.normalised_values, 2 * before.normalised_values)
    np.testing.assert_array_equal(after.logits, before.logits)


def test_initial_state() -> None:
    assert make("mlp", VECTOR, use_lstm=False).initial_state(3) == ()
    state = make("mlp", VECTOR, use_lstm=True).initial_state(3)
    assert [x.shape for x in jax.tree.leaves(state)] == [(3, 256), (3, 256)]
    assert not any(np.any(x) for x in jax.tree.leaves(state))


def test_default_torso() -> None:
    assert default_torso(IMAGES) == "shallow"
    assert default_torso(VECTOR) == "mlp"
    assert default_torso(specs.Array((10, 5), np.float32)) == "mlp"


def test_unknown_network() -> None:
    with pytest.raises(ValueError, match="network='deeper': must be one of .*mlp.*shallow"):
        make("deeper", VECTOR, use_lstm=False)


@pytest.mark.parametrize("shape", [(7,), (10, 5), (4, 35, 84), (4, 84, 35)])
def test_shallow_network_refuses_what_is_no_stack_of_large_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 36 x 36.*network='mlp'"):
        make("shallow", specs.Array(shape, np.uint8), use_lstm=False)
