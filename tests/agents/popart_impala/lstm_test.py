"""The recurrent core against Haiku's, step by step: values, states and gradients."""

from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from agents.popart_impala.networks.lstm import ResetLSTM

T, B, D, SIZE = 7, 3, 5, 4
X = np.random.default_rng(0).normal(size=(T, B, D)).astype(np.float32)
FIRST = np.zeros((T, B), bool)
FIRST[0, 0] = FIRST[3, 1] = FIRST[4, 1] = FIRST[6, 2] = True
STATE = hk.LSTMState(
    hidden=jax.random.normal(jax.random.PRNGKey(1), (B, SIZE)),
    cell=jax.random.normal(jax.random.PRNGKey(2), (B, SIZE)),
)


def ours(x: Any, first: Any, state: Any) -> Any:
    return ResetLSTM(SIZE).unroll(x, first, state)


def haikus(x: Any, first: Any, state: Any) -> Any:
    return hk.dynamic_unroll(hk.ResetCore(hk.LSTM(SIZE)), (x, first), state)


OURS: Any = hk.without_apply_rng(hk.transform(ours))
HAIKUS: Any = hk.without_apply_rng(hk.transform(haikus))
PARAMS = OURS.init(jax.random.PRNGKey(0), X, FIRST, STATE)
(WEIGHTS,) = PARAMS.values()
HAIKUS_PARAMS = {"lstm/linear": WEIGHTS}


def test_parameters_are_haikus() -> None:
    expected = HAIKUS.init(jax.random.PRNGKey(0), X, FIRST, STATE)
    assert expected.keys() == HAIKUS_PARAMS.keys()
    jax.tree.map(np.testing.assert_array_equal, HAIKUS_PARAMS, expected)
    assert np.abs(WEIGHTS["w"]).max() > 0


def test_values_states_and_gradients_are_haikus() -> None:
    weights = np.random.default_rng(3).normal(size=(T, B, SIZE)).astype(np.float32)

    def results(f: Any, params: Any) -> Any:
        def loss(params: Any, x: Any, state: Any) -> Any:
            outputs, last = f.apply(params, x, FIRST, state)
            return jnp.sum(outputs * weights), (outputs, last)

        gradient = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)
        return jax.tree.leaves(gradient(params, X, STATE))

    for actual, expected in zip(results(OURS, PARAMS), results(HAIKUS, HAIKUS_PARAMS), strict=True):
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_step_after_step_is_the_unroll() -> None:
    step: Any = hk.without_apply_rng(
        hk.transform(lambda x, first, state: ResetLSTM(SIZE).step(x, first, state))
    )
    expected, last = OURS.apply(PARAMS, X, FIRST, STATE)
    state = STATE
    for t in range(T):
        output, state = step.apply(PARAMS, X[t], FIRST[t], state)
        np.testing.assert_allclose(output, expected[t], rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), state, last)


def test_the_state_before_an_episode_does_not_reach_it() -> None:
    outputs, _ = OURS.apply(PARAMS, X, FIRST, STATE)
    other = jax.tree.map(lambda s: s + 1.0, STATE)
    others, _ = OURS.apply(PARAMS, X, FIRST, other)
    np.testing.assert_array_equal(outputs[:, 0], others[:, 0])  # an episode starts at time 0
    np.testing.assert_array_equal(outputs[3:, 1], others[3:, 1])
    assert np.abs(outputs[:3, 1] - others[:3, 1]).min() > 0


def test_initial_state() -> None:
    state = hk.transform(lambda: ResetLSTM(SIZE).initial_state(2)).apply({}, None)
    for array in state:
        np.testing.assert_array_equal(array, np.zeros((2, SIZE), np.float32))
        assert array.dtype == np.float32
