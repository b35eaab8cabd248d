"""Networks: steps and whole unrolls agree, episodes do not see each other, sizes, errors."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from agents.popart_impala.config import Config
from agents.popart_impala.networks import NETWORKS, VALUE_HEAD, Networks, make_networks
from agents.popart_impala.networks.observations import OBSERVATION_STATISTICS
from agents.popart_impala.types import AgentInput, Params
from tests.agents.popart_impala.parameters import random_params

T, B = 6, 2
NUM_ACTIONS, NUM_TASKS = 5, 3
IMAGES = specs.BoundedArray((4, 36, 44), np.uint8, 0, 255, "images")
SCREENS = specs.BoundedArray((3, 64, 64), np.uint8, 0, 255, "screens")  # Procgen's
WIDE = specs.BoundedArray((3, 60, 80), np.uint8, 0, 255, "wide")  # ViZDoom's
BOARDS = specs.BoundedArray((5, 6, 4), np.bool_, False, True, "boards")
VECTOR = specs.Array((7,), np.float32, "vector")

# PopArt-IMPALA's networks: their policy is not told the task.
Case = tuple[str, specs.Array, dict[str, Any]]
TASK_BLIND: list[Case] = [
    ("shallow", IMAGES, {}),
    ("deep", IMAGES, {}),
    ("minatar", BOARDS, {}),
    ("mlp", VECTOR, {}),
]
# Networks whose policy is told the task, by an option or by design.
TASK_AWARE: list[Case] = [
    ("shallow", IMAGES, {"task_input": True}),
    ("deep", IMAGES, {"task_input": True}),
    ("minatar", BOARDS, {"task_input": True}),
    ("mlp", VECTOR, {"task_input": True}),
    ("mlp", BOARDS, {"task_input": True}),
    ("attentive", IMAGES, {}),
    ("attentive", IMAGES, {"subnets": 3, "use_gap": True}),
    ("attentive", IMAGES, {"use_separate_attn_net": True}),
    ("attentive", VECTOR, {"subnets": 4}),
    ("attentive", BOARDS, {}),
    ("attentive", BOARDS, {"use_gap": True, "use_separate_attn_net": True}),
    ("self_attention", IMAGES, {}),
    ("progressive", IMAGES, {"frozen_columns": (1, 1)}),
    ("progressive", VECTOR, {"frozen_columns": (1, 1)}),
    ("progressive", BOARDS, {"frozen_columns": (1, 1)}),
]


def cases(networks: list[Case]) -> list[Any]:
    return [
        pytest.param(
            Config(network=name, use_lstm=use_lstm, hidden_size=32, **options),
            spec,
            id="-".join([name, spec.name, *map(str, options), *["lstm"] * use_lstm]),
        )
        for name, spec, options in networks
        # Options only change what comes before the LSTM, except that each column has its own.
        for use_lstm in ((False,) if options and name != "progressive" else (False, True))
    ]


def build(config: Config, spec: specs.Array) -> Networks:
    return make_networks(config, features_spec=spec, num_actions=NUM_ACTIONS, num_tasks=NUM_TASKS)


def make(name: str, spec: specs.Array, use_lstm: bool) -> Networks:
    return build(Config(network=name, use_lstm=use_lstm), spec)


def random_inputs(spec: specs.Array, seed: int = 0) -> AgentInput:
    """Inputs [T, B] of two tasks; episodes start at times 0 and 3, and at 2, 3 and 5."""
    rng = np.random.default_rng(seed)
    first = np.zeros((T, B), bool)
    first[[0, 3], 0] = True
    first[[2, 3, 5], 1] = True
    features: np.ndarray
    if spec.dtype == np.uint8:
        features = rng.integers(0, 256, (T, B, *spec.shape), dtype=np.uint8)
    elif spec.dtype == np.bool_:
        features = rng.random((T, B, *spec.shape)) < 0.5
    else:
        features = rng.normal(size=(T, B, *spec.shape)).astype(np.float32)
    return AgentInput(
        features=features,
        task=np.broadcast_to(rng.permutation(NUM_TASKS)[:B].astype(np.int32), (T, B)),
        previous_action=rng.integers(NUM_ACTIONS, size=(T, B), dtype=np.int32),
        previous_reward=rng.normal(size=(T, B)).astype(np.float32),
        first=first,
    )


def random_state(networks: Networks) -> Any:
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda x: rng.normal(size=x.shape).astype(np.float32), networks.initial_state(B)
    )


def params_of(networks: Networks) -> Params:
    """Random parameters; observation statistics, if any, are the same for all tasks."""
    params = random_params(networks)
    if OBSERVATION_STATISTICS in params:
        params[OBSERVATION_STATISTICS] = jax.tree.map(
            lambda x: np.broadcast_to(x[0], x.shape), params[OBSERVATION_STATISTICS]
        )
    return params


def outputs(networks: Networks, inputs: AgentInput, state: Any) -> np.ndarray:
    """All heads of `unroll`, [T, B, num_actions + num_tasks]."""
    unroll = jax.jit(networks.unroll)
    return np.concatenate(unroll(params_of(networks), inputs, state)[:2], axis=-1)


def test_every_network_of_the_registry_is_tested() -> None:
    assert {name for name, *_ in TASK_BLIND + TASK_AWARE} == set(NETWORKS)


@pytest.mark.parametrize(("config", "spec"), cases(TASK_BLIND + TASK_AWARE))
def test_unroll_is_step_after_step(config: Config, spec: specs.Array) -> None:
    networks = build(config, spec)
    params = params_of(networks)
    inputs, state = random_inputs(spec), random_state(networks)
    unrolled = outputs(networks, inputs, state)
    assert unrolled.shape == (T, B, NUM_ACTIONS + NUM_TASKS)
    step = jax.jit(networks.step)
    for t in range(T):
        output, state = step(params, jax.tree.map(lambda x, t=t: x[t], inputs), state)
        assert output.logits.shape == (B, NUM_ACTIONS)
        assert output.normalised_values.shape == (B, NUM_TASKS)
        np.testing.assert_allclose(
            np.concatenate(output[:2], axis=-1), unrolled[t], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("spec", [SCREENS, WIDE], ids=lambda spec: spec.name)
@pytest.mark.parametrize(
    "network", sorted({name for name, own, _ in TASK_BLIND + TASK_AWARE if own is IMAGES})
)
def test_images_of_other_families_fit(network: str, spec: specs.Array) -> None:
    networks = build(Config(network=network), spec)
    params = jax.eval_shape(networks.init, jax.random.PRNGKey(0))
    output = jax.eval_shape(networks.unroll, params, random_inputs(spec), random_state(networks))
    assert output.logits.shape == (T, B, NUM_ACTIONS)
    assert output.normalised_values.shape == (T, B, NUM_TASKS)


def test_an_episode_does_not_see_the_one_before() -> None:
    networks = make("mlp", VECTOR, use_lstm=True)
    inputs, state = random_inputs(VECTOR), random_state(networks)
    before = outputs(networks, inputs, state)
    # Different features up to the last episode start, and a different initial state.
    features = np.array(inputs.features)
    features[:3, 0] += 1.0
    features[:5, 1] += 1.0
    state = jax.tree.map(lambda x: x + 1.0, state)
    after = outputs(networks, inputs._replace(features=features), state)
    np.testing.assert_array_equal(before[3:, 0], after[3:, 0])
    np.testing.assert_array_equal(before[5:, 1], after[5:, 1])
    # Within an episode the past matters.
    no_starts = inputs._replace(first=np.zeros((T, B), bool))
    continued = outputs(networks, no_starts, state)
    changed = outputs(networks, no_starts._replace(features=features), state)
    assert (np.abs(continued - changed)[-1] > 1e-6).all()


def test_the_state_at_an_episodes_start_is_the_initial_one() -> None:
    networks = make("mlp", VECTOR, use_lstm=True)
    params = params_of(networks)
    inputs = jax.tree.map(lambda x: x[0], random_inputs(VECTOR))
    start = inputs._replace(first=np.ones(B, bool))
    continued = inputs._replace(first=np.zeros(B, bool))
    output, state = networks.step(params, start, random_state(networks))
    expected, expected_state = networks.step(params, continued, networks.initial_state(B))
    jax.tree.map(np.testing.assert_array_equal, (output, state), (expected, expected_state))


def change_the_task(config: Config, spec: specs.Array) -> tuple[np.ndarray, np.ndarray]:
    """Outputs for random inputs, and for the same inputs with other tasks."""
    networks = build(config, spec)
    inputs, state = random_inputs(spec), random_state(networks)
    other = inputs._replace(task=(inputs.task + 1) % NUM_TASKS)
    return outputs(networks, inputs, state), outputs(networks, other, state)


@pytest.mark.parametrize(("config", "spec"), cases(TASK_BLIND))
def test_outputs_do_not_depend_on_the_task(config: Config, spec: specs.Array) -> None:
    np.testing.assert_array_equal(*change_the_task(config, spec))


@pytest.mark.parametrize(("config", "spec"), cases(TASK_AWARE))
def test_outputs_depend_on_the_task(config: Config, spec: specs.Array) -> None:
    before, after = change_the_task(config, spec)
    assert (before != after).any(axis=-1).all()


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


ATARI = specs.BoundedArray((4, 84, 84), np.uint8, 0, 255, "frames")
SHALLOW_MAPS = 9 * 9 * 32  # 84 -> (84 - 8) / 4 + 1 = 20 -> (20 - 4) / 2 + 1 = 9
SHALLOW_CONVS = (8 * 8 * 4 * 16 + 16) + (4 * 4 * 16 * 32 + 32)


def deep_convs(channels: int) -> int:
    """Number of parameters of the 15 convolutions for this many input channels."""
    total, before = 0, channels
    for after in (16, 32, 32):
        total += 9 * before * after + after + 4 * (9 * after * after + after)
        before = after
    return total


def heads(embedding: int, num_actions: int, num_tasks: int, use_lstm: bool) -> int:
    """Number of parameters of LSTM and heads after the embedding, previous action and reward."""
    core = embedding + num_actions + 1
    lstm = 0
    if use_lstm:
        lstm = (core + 256) * 4 * 256 + 4 * 256
        core = 256
    return lstm + (core + 1) * (num_actions + num_tasks)


AUGMENTED = (2 * 2 * 16 * 8 + 8) + (16 * 72 + 72) + (24 * 24 + 24) + 2 * (2 * 20 - 1) * 6
POOLED = 10 * 10 * 32


@pytest.mark.parametrize("use_lstm", [False, True])
@pytest.mark.parametrize(
    ("options", "torso"),
    [
        ({"network": "shallow"}, SHALLOW_CONVS + (SHALLOW_MAPS + 1) * 256),
        ({"network": "shallow", "task_input": True}, SHALLOW_CONVS + (SHALLOW_MAPS + 1 + 57) * 256),
        # 84 -> 42 -> 21 -> 11 by pooling.
        ({"network": "deep"}, deep_convs(4) + (11 * 11 * 32 + 1) * 256),
        # K = floor(59 / 4) + 1 = 15 for 57 tasks.
        (
            {"network": "attentive"},
            15 * (SHALLOW_CONVS + SHALLOW_MAPS + 57 + 1) + (SHALLOW_MAPS + 1) * 256,
        ),
        (
            {"network": "attentive", "subnets": 2, "use_gap": True, "use_separate_attn_net": True},
            3 * SHALLOW_CONVS + 2 * (32 + 57 + 1) + (SHALLOW_MAPS + 1) * 256,
        ),
        (
            {"network": "self_attention", "subnets": 2},
            2 * (8 * 8 * 4 * 16 + 16 + AUGMENTED + POOLED + 57 + 1) + (POOLED + 1) * 256,
        ),
        ({"network": "progressive"}, SHALLOW_CONVS + (SHALLOW_MAPS + 1) * 256),
    ],
    ids=str,
)
def test_number_of_parameters(options: dict[str, Any], torso: int, use_lstm: bool) -> None:
    networks = make_networks(
        Config(use_lstm=use_lstm, **options), features_spec=ATARI, num_actions=18, num_tasks=57
    )
    params = jax.eval_shape(networks.init, jax.random.PRNGKey(0))
    learned = {module: x for module, x in params.items() if module != OBSERVATION_STATISTICS}
    assert sum(leaf.size for leaf in jax.tree.leaves(learned)) == networks.num_params
    assert networks.num_params == torso + heads(256, 18, 57, use_lstm)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


MINATAR = specs.BoundedArray((10, 10, 10), np.bool_, False, True, "board")
BOARD_CONV = 3 * 3 * 10 * 16 + 16
BOARD_MAPS = 8 * 8 * 16


@pytest.mark.parametrize(
    ("options", "torso"),
    [
        ({"network": "minatar"}, BOARD_CONV + (BOARD_MAPS + 1) * 128),
        ({"network": "minatar", "task_input": True}, BOARD_CONV + (BOARD_MAPS + 1 + 5) * 128),
        # Each sub-network has the convolution; K = floor(7 / 4) + 1 = 2 for 5 tasks.
        ({"network": "attentive"}, 2 * (BOARD_CONV + BOARD_MAPS + 5 + 1) + (BOARD_MAPS + 1) * 128),
        ({"network": "progressive"}, BOARD_CONV + (BOARD_MAPS + 1) * 128),
    ],
    ids=str,
)
def test_number_of_parameters_on_boards(options: dict[str, Any], torso: int) -> None:
    networks = make_networks(
        Config(hidden_size=128, **options), features_spec=MINATAR, num_actions=6, num_tasks=5
    )
    assert networks.num_params == torso + heads(128, 6, 5, use_lstm=False)


def test_the_papers_number_of_parameters_of_the_deep_network() -> None:
    # IMPALA's figure 3 says 1.6 million, for DeepMind Lab's 96 x 72 RGB and 9 actions. Its LSTM
    # also takes the 64 outputs of a language LSTM, which this project does not need.
    lab = specs.BoundedArray((3, 72, 96), np.uint8, 0, 255, "frames")
    networks = make_networks(
        Config(network="deep", use_lstm=True), features_spec=lab, num_actions=9, num_tasks=1
    )
    assert round((networks.num_params + 64 * 4 * 256) / 1e6, 1) == 1.6


@pytest.mark.parametrize(("use_lstm", "core"), [(False, 256 + NUM_ACTIONS + 1), (True, 256)])
def test_the_value_head_is_found_by_its_name(use_lstm: bool, core: int) -> None:
    networks = make("mlp", VECTOR, use_lstm)
    params = params_of(networks)
    assert {name: x.shape for name, x in params[VALUE_HEAD].items()} == {
        "w": (core, NUM_TASKS),
        "b": (NUM_TASKS,),
    }
    # It is the last layer: doubling its parameters doubles the values and keeps the policy.
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


def test_hidden_size() -> None:
    networks = build(Config(network="mlp", hidden_size=9), VECTOR)
    # 7 features -> 9 -> 9, then the heads, which also take action and reward.
    assert networks.num_params == 8 * 9 + 10 * 9 + (9 + NUM_ACTIONS + 2) * (NUM_ACTIONS + NUM_TASKS)


@pytest.mark.parametrize(
    ("network", "option", "able"),
    [
        ("mlp", {"subnets": 2}, "attentive, self_attention"),
        ("attentive", {"task_input": True}, "deep, minatar, mlp, shallow"),
        ("shallow", {"use_gap": True}, "attentive, self_attention"),
        ("attentive", {"frozen_columns": (1,)}, "progressive"),
    ],
)
def test_an_option_that_the_network_does_not_have(
    network: str, option: dict[str, Any], able: str
) -> None:
    (name, value), *_ = option.items()
    message = re.escape(f"{name}={value!r}: network={network!r} has no such option; {able} do")
    with pytest.raises(ValueError, match=message):
        build(Config(network=network, **option), IMAGES)


def test_unknown_network() -> None:
    with pytest.raises(ValueError, match="network='deeper': must be one of .*mlp.*shallow"):
        make("deeper", VECTOR, use_lstm=False)


@pytest.mark.parametrize("shape", [(7,), (10, 5), (4, 35, 84), (4, 84, 35)])
def test_shallow_network_refuses_what_is_no_stack_of_large_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 36 x 36.*network='mlp'"):
        make("shallow", specs.Array(shape, np.uint8), use_lstm=False)


@pytest.mark.parametrize(
    "spec",
    [
        specs.Array((10, 10, 10), np.uint8),  # an image
        specs.Array((10, 10, 10), np.float32),
        specs.Array((10, 10), np.bool_),
        specs.Array((2, 10, 10), np.bool_),
    ],
)
def test_minatar_network_refuses_what_is_no_board(spec: specs.Array) -> None:
    with pytest.raises(ValueError, match="network='minatar': needs boards .* of at least 3 x 3"):
        make("minatar", spec, use_lstm=False)


@pytest.mark.parametrize("network", ["attentive", "progressive"])
def test_networks_for_all_refuse_boards_that_are_too_small(network: str) -> None:
    with pytest.raises(ValueError, match=f"network='{network}': needs boards"):
        make(network, specs.Array((2, 10, 10), np.bool_), use_lstm=False)


@pytest.mark.parametrize("network", ["deep", "self_attention"])
def test_networks_for_images_refuse_what_is_none(network: str) -> None:
    with pytest.raises(ValueError, match=f"network='{network}': needs stacked images"):
        make(network, VECTOR, use_lstm=False)
