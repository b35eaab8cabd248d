"""Signature, buffer and adder: shapes, names, misuse. data_path_test covers their contents."""

from typing import Any

import dm_env
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from acme import adders
from dm_env import specs

from agents.popart_impala import acme_adder, reverb_queue, unrolls
from agents.popart_impala.types import AgentInput, Unroll
from environments import Observation, StackedFrames
from tests.agents.popart_impala.serving import serve

T, NUM_ACTIONS, N = 2, 5, 3
FEATURES = specs.Array((4,), np.uint8, "features")
LSTM_STATE = hk.LSTMState(hidden=jnp.zeros((1, 6)), cell=jnp.zeros((1, 6)))
SIGNATURE = unrolls.unroll_signature(FEATURES, NUM_ACTIONS, T, LSTM_STATE)


class Written(list[Unroll]):
    """A writer that keeps what is written."""

    signature = SIGNATURE

    def write(self, unrolls: Unroll) -> None:
        self.append(unrolls)


def inputs(number: int, n: int = N) -> AgentInput:
    return AgentInput(
        features=np.full((n, 4), number, np.uint8),
        task=np.zeros(n, np.int32),
        previous_action=np.full(n, number, np.int32),
        previous_reward=np.full(n, number, np.float32),
        first=np.zeros(n, bool),
    )


def add(buffer: unrolls.UnrollBuffer, number: int) -> None:
    state = jax.tree.map(lambda x: np.repeat(x, N, axis=0) + number, LSTM_STATE)
    logits = np.full((N, NUM_ACTIONS), number, np.float32)
    ones = np.ones(N, np.float32)
    buffer.add(
        inputs(number), state, number, np.full(N, number), logits, number * ones, ones, 2 * ones
    )


def step_type(last: bool, reward: float = 1.0) -> dm_env.TimeStep:
    observation = Observation(np.zeros(4, np.uint8), np.array(0, np.int32))
    kind = dm_env.StepType.LAST if last else dm_env.StepType.MID
    return dm_env.TimeStep(kind, reward, 1.0, observation)


FIRST = dm_env.restart(Observation(np.zeros(4, np.uint8), np.array(0, np.int32)))
EXTRAS = {
    "logits": np.zeros(NUM_ACTIONS, np.float32),
    "state": jax.tree.map(lambda x: x[0], LSTM_STATE),
    "params_step": 3,
    "last_value": np.float32(5),
}


# The signature.


def test_signature() -> None:
    def shape_and_type(spec: specs.Array) -> tuple[Any, ...]:
        return (spec.name, spec.shape, spec.dtype)

    state = [
        ("initial_state.hidden", (6,), np.float32),
        ("initial_state.cell", (6,), np.float32),
    ]
    assert [shape_and_type(spec) for spec in jax.tree.leaves(SIGNATURE)] == [
        ("inputs.features", (T + 1, 4), np.uint8),
        ("inputs.task", (), np.int32),
        ("inputs.previous_action", (T + 1,), np.int32),
        ("inputs.previous_reward", (T + 1,), np.float32),
        ("inputs.first", (T + 1,), bool),
        ("action", (T,), np.int32),
        ("reward", (T,), np.float32),
        ("discount", (T,), np.float32),
        ("behaviour_logits", (T, NUM_ACTIONS), np.float32),
        *state,
        ("params_step", (), np.int32),
        ("truncation_value", (T,), np.float32),
    ]
    assert isinstance(SIGNATURE.initial_state, hk.LSTMState)


@pytest.mark.parametrize(("stack", "frames"), [(1, T + 1), (4, 3 + T + 1)])
def test_stacks_are_sent_as_single_frames(stack: int, frames: int) -> None:
    features = StackedFrames((stack, 8, 9), np.uint8, 0, 255, "frames")
    signature = unrolls.unroll_signature(features, NUM_ACTIONS, T, ())
    assert signature.inputs.features.shape == (frames, 8, 9)
    assert signature.initial_state == ()


# The buffer.


def test_a_finished_unroll_is_not_written_to_again() -> None:
    buffer = unrolls.UnrollBuffer(SIGNATURE, N)
    for number in range(T):
        assert not buffer.full
        add(buffer, number)
    assert buffer.full
    unroll = buffer.finish(inputs(T))
    before = jax.tree.map(np.copy, unroll)
    for number in range(10, 10 + T):
        add(buffer, number)
    following = buffer.finish(inputs(20))
    jax.tree.map(np.testing.assert_array_equal, unroll, before)
    np.testing.assert_array_equal(unroll.reward, [[0, 1]] * N)
    np.testing.assert_array_equal(following.reward, [[10, 11]] * N)
    np.testing.assert_array_equal(following.params_step, [10] * N)
    np.testing.assert_array_equal(following.initial_state.hidden, np.full((N, 6), 10))


def test_buffer_refuses_a_step_too_many_and_an_end_too_early() -> None:
    buffer = unrolls.UnrollBuffer(SIGNATURE, N)
    with pytest.raises(ValueError, match="only 0 of its 2 steps"):
        buffer.finish(inputs(0))
    add(buffer, 0)
    with pytest.raises(ValueError, match="only 1 of its 2 steps"):
        buffer.finish(inputs(1))
    add(buffer, 1)
    with pytest.raises(ValueError, match="has its 2 steps"):
        add(buffer, 2)
    np.testing.assert_array_equal(buffer.finish(inputs(2)).reward, [[0, 1]] * N)


# The adder.


def test_adder_is_acmes() -> None:
    assert isinstance(acme_adder.UnrollAdder(Written()), adders.Adder)


def test_adder_refuses_steps_in_a_wrong_order() -> None:
    adder = acme_adder.UnrollAdder(Written())
    with pytest.raises(ValueError, match="needs add_first"):
        adder.add(np.int32(0), step_type(last=False), EXTRAS)
    with pytest.raises(ValueError, match="FIRST"):
        adder.add_first(step_type(last=False))
    adder.add_first(FIRST)
    adder.add(np.int32(0), step_type(last=True), EXTRAS)
    with pytest.raises(ValueError, match="needs add_first"):
        adder.add(np.int32(0), step_type(last=False), EXTRAS)


def test_an_abandoned_episode_counts_as_cut_off() -> None:
    written = Written()
    adder = acme_adder.UnrollAdder(written)
    adder.add_first(FIRST)
    adder.add(np.int32(1), step_type(last=False), EXTRAS)
    adder.add_first(FIRST)  # the environment was reset in the middle of an episode
    adder.add(np.int32(2), step_type(last=False), EXTRAS)
    (unroll,) = written
    np.testing.assert_array_equal(unroll.inputs.first, [[True, True, False]])
    np.testing.assert_array_equal(unroll.discount, [[1, 1]])
    np.testing.assert_array_equal(unroll.inputs.previous_action, [[0, 0, 2]])


def test_the_adder_keeps_no_array_of_the_environments() -> None:
    written = Written()
    adder = acme_adder.UnrollAdder(written)
    board, task = np.zeros(4, np.uint8), np.array(0, np.int32)
    observation = Observation(board, task)
    adder.add_first(dm_env.restart(observation))
    for step in range(1, 1 + 2 * T):
        board += 1  # in place
        # Rewards and discounts as arrays, as from a batch of one.
        timestep = dm_env.transition(np.full(1, step), observation, np.ones(1))
        adder.add(np.int32(0), timestep, EXTRAS)
    for k, unroll in enumerate(written):
        expected = np.arange(T * k, T * k + T + 1)
        np.testing.assert_array_equal(unroll.inputs.features[0, :, 0], expected)
        np.testing.assert_array_equal(unroll.inputs.previous_reward[0], expected)
        np.testing.assert_array_equal(unroll.reward[0], expected[1:])
    assert len(written) == 2


def test_a_time_limits_last_value_goes_into_the_unroll() -> None:
    written = Written()
    adder = acme_adder.UnrollAdder(written)
    adder.add_first(FIRST)
    adder.add(np.int32(0), step_type(last=True)._replace(discount=0.5), EXTRAS)
    adder.add_first(FIRST)
    adder.add(np.int32(0), step_type(last=True)._replace(discount=0.0), EXTRAS)
    adder.add_first(FIRST)
    (unroll,) = written
    np.testing.assert_array_equal(unroll.discount, [[0, 0]])
    np.testing.assert_array_equal(unroll.truncation_value, [[2.5, 0]])  # 0.5 times 5


def test_reset_forgets_the_unfinished_unroll() -> None:
    written = Written()
    adder = acme_adder.UnrollAdder(written)
    adder.add_first(FIRST)
    adder.add(np.int32(0), step_type(last=False, reward=1.0), EXTRAS)
    adder.reset()
    with pytest.raises(ValueError, match="needs add_first"):
        adder.add(np.int32(0), step_type(last=False), EXTRAS)
    adder.add_first(FIRST)
    for reward in (2.0, 3.0):
        adder.add(np.int32(0), step_type(last=False, reward=reward), EXTRAS)
    np.testing.assert_array_equal([unroll.reward for unroll in written], [[[2.0, 3.0]]])


# The writer.


def test_an_array_unlike_the_signature_is_named() -> None:
    unroll = jax.tree.map(lambda spec: np.zeros((N, *spec.shape), spec.dtype), SIGNATURE)
    float64 = unroll._replace(reward=unroll.reward.astype(np.float64))
    short = unroll._replace(inputs=unroll.inputs._replace(first=unroll.inputs.first[:, :T]))
    large = unroll._replace(
        initial_state=unroll.initial_state._replace(cell=np.zeros((N, 7), np.float32))
    )
    client = serve([reverb_queue.make_table(SIGNATURE, capacity=N)])
    writer = reverb_queue.QueueWriter(client, SIGNATURE)
    with pytest.raises(ValueError, match=r"field reward is float64 \[2\], .* float32 \[2\]"):
        writer.write(float64)
    with pytest.raises(ValueError, match=r"field inputs.first is bool \[2\], .* bool \[3\]"):
        writer.write(short)
    with pytest.raises(ValueError, match=r"field initial_state.cell is float32 \[7\]"):
        writer.write(large)
    writer.write(unroll)  # the refused unrolls have left nothing behind
    (info,) = client.server_info().values()
    assert info.rate_limiter_info.insert_stats.completed == N


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        (
            unrolls.unroll_signature(FEATURES, NUM_ACTIONS + 1, T, LSTM_STATE),
            r"(?s)column 8 to be a float \[2,6\] tensor but got a float \[2,5\]"
            r".*8: Tensor<name: 'behaviour_logits",
        ),
        (unrolls.unroll_signature(FEATURES, NUM_ACTIONS, T, ()), "13 columns .* has 11 columns"),
    ],
    ids=["another number of actions", "no LSTM"],
)
def test_a_queue_of_another_signature_refuses_unrolls(
    theirs: unrolls.Signature, message: str
) -> None:
    unroll = jax.tree.map(lambda spec: np.zeros((1, *spec.shape), spec.dtype), SIGNATURE)
    client = serve([reverb_queue.make_table(theirs, capacity=1)])
    writer = reverb_queue.QueueWriter(client, SIGNATURE)
    with pytest.raises(ValueError, match=message):
        writer.write(unroll)
