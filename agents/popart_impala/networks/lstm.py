"""The recurrent core: an LSTM that is reset where an episode starts."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

LSTM_SIZE = 256  # units, as in IMPALA's paper


class ResetLSTM(hk.Module):
    """`hk.ResetCore(hk.LSTM(size))`, with the inputs of a whole sequence projected in one product.

    Only the product with the hidden state has to wait for the previous step. Gates, initial values
    and state are Haiku's (Jozefowicz et al. 2015: 1 is added to the forget gate).
    """

    def __init__(self, size: int, name: str = "lstm"):
        """Makes the core; `size` is the size of the hidden state and the output."""
        super().__init__(name=name)
        self._size = size

    def initial_state(self, batch_size: int) -> hk.LSTMState:
        """Returns zeros, float32 [B, size], for hidden and cell state."""
        zeros = jnp.zeros((batch_size, self._size))
        return hk.LSTMState(hidden=zeros, cell=zeros)

    def step(
        self, x: jax.Array, first: jax.Array, state: hk.LSTMState
    ) -> tuple[jax.Array, hk.LSTMState]:
        """One step: x [B, D], first bool [B], state before -> output [B, size], state after."""
        w, b = self._parameters(x.shape[-1])
        state = _reset(state, first)
        gates = jnp.concatenate([x, state.hidden], axis=-1) @ w
        state = _next_state(gates + jnp.broadcast_to(b, gates.shape), state)
        return state.hidden, state

    def unroll(
        self, x: jax.Array, first: jax.Array, state: hk.LSTMState
    ) -> tuple[jax.Array, hk.LSTMState]:
        """A sequence: x [T, B, D], first bool [T, B], state before -> [T, B, size], state after."""
        w, b = self._parameters(x.shape[-1])
        w_input, w_hidden = w[: x.shape[-1]], w[x.shape[-1] :]
        projected = x @ w_input
        projected += jnp.broadcast_to(b, projected.shape)

        def step(
            state: hk.LSTMState, inputs: tuple[jax.Array, jax.Array]
        ) -> tuple[hk.LSTMState, jax.Array]:
            projected, first = inputs
            state = _reset(state, first)
            state = _next_state(projected + state.hidden @ w_hidden, state)
            return state, state.hidden

        state, hidden = jax.lax.scan(step, state, (projected, first))
        return hidden, state

    def _parameters(self, input_size: int) -> tuple[jax.Array, jax.Array]:
        """Weights [D + size, 4 size], for the input, then the hidden state; bias [4 size]."""
        rows = input_size + self._size
        init = hk.initializers.TruncatedNormal(1.0 / np.sqrt(rows))
        w = hk.get_parameter("w", (rows, 4 * self._size), init=init)
        return w, hk.get_parameter("b", (4 * self._size,), init=jnp.zeros)


def _reset(state: hk.LSTMState, first: jax.Array) -> hk.LSTMState:
    keep = jnp.where(first, 0.0, 1.0)[:, None]
    return hk.LSTMState(state.hidden * keep, state.cell * keep)


def _next_state(gates: jax.Array, state: hk.LSTMState) -> hk.LSTMState:
    i, g, f, o = jnp.split(gates, 4, axis=-1)
    cell = jax.nn.sigmoid(f + 1) * state.cell + jax.nn.sigmoid(i) * jnp.tanh(g)
    return hk.LSTMState(jax.nn.sigmoid(o) * jnp.tanh(cell), cell)
