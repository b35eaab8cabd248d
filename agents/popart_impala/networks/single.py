"""One torso for all tasks, optional LSTM, one policy head, one value output per task."""

from collections.abc import Callable

import haiku as hk
import jax
import jax.numpy as jnp

from agents.popart_impala.network_config import NetworkConfig
from agents.popart_impala.networks.lstm import LSTM_SIZE, ResetLSTM
from agents.popart_impala.networks.sequences import apply_to_steps
from agents.popart_impala.networks.types import VALUE_HEAD, NetworkOutput, Torso
from agents.popart_impala.types import AgentInput, RecurrentState

# Up to this many actions, the previous one is given as a one-hot; beyond, as a code of this many
# signs. The policy head has a weight for each of these inputs and each action: with one-hots its
# size would grow with the square of the number of actions.
_MOST_ONE_HOT = 256


def actions_and_rewards(inputs: AgentInput, num_actions: int) -> jax.Array:
    """The previous action, and the reward clipped to [-1, 1]: [B, min(num_actions, 256) + 1]."""
    if num_actions <= _MOST_ONE_HOT:
        action = jax.nn.one_hot(inputs.previous_action, num_actions)
    else:
        action = action_codes(inputs.previous_action)
    reward = jnp.clip(inputs.previous_reward, -1.0, 1.0)
    return jnp.concatenate([action, reward[:, None]], axis=1)


def action_codes(action: jax.Array) -> jax.Array:
    """Fixed pseudo-random codes of unit norm that are nearly orthogonal, in place of one-hots.

    A random projection (Achlioptas 2003) without its matrix: the signs are bits of a hash. It has
    no parameters, so frozen columns see the same codes for ever.

    Args:
      action: int32 [B].

    Returns:
      float32 [B, 256], each entry 1/16 or -1/16.
    """
    place = jnp.arange(_MOST_ONE_HOT, dtype=jnp.uint32)
    h = action.astype(jnp.uint32)[:, None] * jnp.uint32(0x9E3779B1)
    h = h + (place * jnp.uint32(0x85EBCA77) + jnp.uint32(1))[None, :]
    # The finaliser of MurmurHash3.
    h = (h ^ (h >> 16)) * jnp.uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * jnp.uint32(0xC2B2AE35)
    h = h ^ (h >> 16)
    signs = 1.0 - 2.0 * (h & 1).astype(jnp.float32)
    return signs / _MOST_ONE_HOT**0.5


class SingleTorsoNetwork:
    """Torso, previous action and reward, optional LSTM, heads."""

    def __init__(self, torso: Torso, config: NetworkConfig, num_actions: int, num_tasks: int):
        self._torso = torso
        self._core = ResetLSTM(LSTM_SIZE) if config.use_lstm else None
        self._num_actions = num_actions
        # Small enough that the initial policy is uniform, whatever the observation.
        self._policy_head = hk.Linear(
            num_actions, w_init=hk.initializers.VarianceScaling(1e-4), name="policy_head"
        )
        self._value_head = hk.Linear(num_tasks, name=VALUE_HEAD)

    def initial_state(self, batch_size: int) -> RecurrentState:
        """See `Network`."""
        return () if self._core is None else self._core.initial_state(batch_size)

    def step(
        self, inputs: AgentInput, state: RecurrentState
    ) -> tuple[NetworkOutput, RecurrentState]:
        """See `Network`."""
        x, attention = self._embed(inputs)
        if self._core is not None:
            x, state = self._core.step(x, inputs.first, state)
        return self._heads(x, attention), state

    def unroll(self, inputs: AgentInput, state: RecurrentState) -> NetworkOutput:
        """See `Network`."""
        x, attention = apply_to_steps(self._embed, inputs)
        if self._core is not None:
            x, _ = self._core.unroll(x, inputs.first, state)
        return apply_to_steps(self._heads, x, attention)

    def _embed(self, inputs: AgentInput) -> tuple[jax.Array, jax.Array | None]:
        output = self._torso(inputs.features, inputs.task)
        others = actions_and_rewards(inputs, self._num_actions)
        return jnp.concatenate([output.embedding, others], axis=1), output.attention

    def _heads(self, x: jax.Array, attention: jax.Array | None) -> NetworkOutput:
        return NetworkOutput(self._policy_head(x), self._value_head(x), attention)


def with_torso(
    make_torso: Callable[[NetworkConfig, int], Torso],
) -> Callable[[NetworkConfig, int, int], SingleTorsoNetwork]:
    """Turns a torso maker into a network maker for the registry.

    Args:
      make_torso: (config, num_tasks) -> torso.
    """

    def make(config: NetworkConfig, num_actions: int, num_tasks: int) -> SingleTorsoNetwork:
        return SingleTorsoNetwork(make_torso(config, num_tasks), config, num_actions, num_tasks)

    return make
