"""Torso, previous action and reward, optional LSTM, one policy head, one value output per task."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from agents.popart_impala.networks.lstm import ResetLSTM
from agents.popart_impala.networks.registry import TORSOS
from agents.popart_impala.types import AgentInput, Params, RecurrentState

# Haiku's name of the layer whose outputs PopArt normalises: params[VALUE_HEAD] is {"w", "b"}.
VALUE_HEAD = "value_head"
LSTM_SIZE = 256


class NetworkOutput(NamedTuple):
    """Heads of the network; leading axes [B] or [T, B]."""

    logits: jax.Array  # float32 [..., num_actions]
    normalised_values: jax.Array  # float32 [..., num_tasks]


class Networks(NamedTuple):
    """Pure functions of one network."""

    init: Callable[[chex.PRNGKey], Params]
    # batch size -> recurrent state [B, ...], () without an LSTM
    initial_state: Callable[[int], RecurrentState]
    # (params, inputs [B, ...], state) -> (output [B, ...], next state)
    step: Callable[[Params, AgentInput, RecurrentState], tuple[NetworkOutput, RecurrentState]]
    # (params, inputs [T, B, ...], state before the first) -> output [T, B, ...]
    unroll: Callable[[Params, AgentInput, RecurrentState], NetworkOutput]
    num_actions: int
    num_tasks: int


def make_networks(
    name: str, *, features_spec: Any, num_actions: int, num_tasks: int, use_lstm: bool
) -> Networks:
    """Builds the network called `name`.

    Args:
      name: a key of `TORSOS`.
      features_spec: `shape` and `dtype` of one environment's features.
      num_actions: size of the policy's output.
      num_tasks: number of value outputs.
      use_lstm: puts an LSTM of 256 units between torso and heads, reset where an episode starts.

    Raises:
      ValueError: the name is unknown, or the torso does not accept such features.
    """
    if name not in TORSOS:
        raise ValueError(f"network={name!r}: must be one of {', '.join(sorted(TORSOS))}")

    def build() -> tuple[Callable[..., Any], tuple[Callable[..., Any], ...]]:
        torso = TORSOS[name]()
        core = ResetLSTM(LSTM_SIZE) if use_lstm else None
        policy_head = hk.Linear(num_actions, name="policy_head")
        value_head = hk.Linear(num_tasks, name=VALUE_HEAD)

        def embed(inputs: AgentInput) -> jax.Array:
            return jnp.concatenate(
                [
                    torso(inputs.features, inputs.task),
                    jax.nn.one_hot(inputs.previous_action, num_actions),
                    jnp.clip(inputs.previous_reward, -1.0, 1.0)[:, None],
                ],
                axis=1,
            )

        def heads(x: jax.Array) -> NetworkOutput:
            return NetworkOutput(policy_head(x), value_head(x))

        def initial_state(batch_size: int) -> RecurrentState:
            return () if core is None else core.initial_state(batch_size)

        def step(inputs: AgentInput, state: RecurrentState) -> tuple[NetworkOutput, RecurrentState]:
            x = embed(inputs)
            if core is not None:
                x, state = core.step(x, inputs.first, state)
            return heads(x), state

        def unroll(inputs: AgentInput, state: RecurrentState) -> NetworkOutput:
            x = hk.BatchApply(embed)(inputs)
            if core is not None:
                x, _ = core.unroll(x, inputs.first, state)
            return hk.BatchApply(heads)(x)

        return step, (initial_state, step, unroll)

    transformed = hk.without_apply_rng(hk.multi_transform(build))
    apply_initial_state, apply_step, apply_unroll = transformed.apply

    def initial_state(batch_size: int) -> RecurrentState:
        return apply_initial_state({}, batch_size)

    def init(rng: chex.PRNGKey) -> Params:
        inputs = AgentInput(
            features=jnp.zeros((1, *features_spec.shape), features_spec.dtype),
            task=jnp.zeros(1, jnp.int32),
            previous_action=jnp.zeros(1, jnp.int32),
            previous_reward=jnp.zeros(1),
            first=jnp.ones(1, bool),
        )
        return transformed.init(rng, inputs, initial_state(1))

    jax.eval_shape(init, jax.random.PRNGKey(0))  # a torso's complaint comes here, not in a node
    return Networks(init, initial_state, apply_step, apply_unroll, num_actions, num_tasks)
