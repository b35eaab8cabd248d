"""One torso for all tasks, optional LSTM, one policy head, one value output per task."""

from collections.abc import Callable

import haiku as hk
import jax
import jax.numpy as jnp

from agents.popart_impala.config import Config
from agents.popart_impala.networks.lstm import LSTM_SIZE, ResetLSTM
from agents.popart_impala.networks.sequences import apply_to_steps
from agents.popart_impala.networks.types import VALUE_HEAD, NetworkOutput, Torso
from agents.popart_impala.types import AgentInput, RecurrentState


def actions_and_rewards(inputs: AgentInput, num_actions: int) -> jax.Array:
    """The previous action, one-hot, and the reward clipped to [-1, 1]: [B, num_actions + 1]."""
    return jnp.concatenate(
        [
            jax.nn.one_hot(inputs.previous_action, num_actions),
            jnp.clip(inputs.previous_reward, -1.0, 1.0)[:, None],
        ],
        axis=1,
    )


class SingleTorsoNetwork:
    """Torso, previous action and reward, LSTM if wanted, heads."""

    def __init__(self, torso: Torso, config: Config, num_actions: int, num_tasks: int):
        """Makes the modules; within a Haiku transformation."""
        self._torso = torso
        self._core = ResetLSTM(LSTM_SIZE) if config.use_lstm else None
        self._num_actions = num_actions
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
    make_torso: Callable[[Config, int], Torso],
) -> Callable[[Config, int, int], SingleTorsoNetwork]:
    """A maker of networks, as the registry has them, from a maker of torsos.

    Args:
      make_torso: (config, num_tasks) -> torso.
    """

    def make(config: Config, num_actions: int, num_tasks: int) -> SingleTorsoNetwork:
        return SingleTorsoNetwork(make_torso(config, num_tasks), config, num_actions, num_tasks)

    return make
