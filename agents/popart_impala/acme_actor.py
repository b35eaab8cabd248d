"""Acme's actor: one environment in an `EnvironmentLoop`."""

from typing import Any

import chex
import dm_env
import jax
import numpy as np
from acme import core

from agents.popart_impala.acme_adder import UnrollAdder
from agents.popart_impala.acting import Policy, PolicyStep, ValueFunction
from agents.popart_impala.types import AgentInput, RecurrentState, agent_input
from agents.popart_impala.variables import VariableClient
from environments import Observation
from environments.conversion import number


class Actor(core.Actor):
    """Acme's actor: one dm_env environment whose observations are `environments.Observation`s."""

    def __init__(
        self,
        policy: Policy,
        value_function: ValueFunction,
        initial_state: RecurrentState,
        variables: VariableClient,
        random_key: chex.PRNGKey,
        adder: UnrollAdder | None = None,
    ):
        """Makes an actor.

        Args:
          policy: as returned by `make_policy`.
          value_function: as returned by `make_value_function`; for the adder.
          initial_state: recurrent state [1, ...].
          variables: source of parameters.
          random_key: for sampling actions.
          adder: records what the actor observes, if given.
        """
        self._policy = policy
        self._value_function = value_function
        self._initial_state = initial_state
        self._variables = variables
        self._key = random_key
        self._adder = adder
        self._previous = (np.int32(0), np.float32(0), True)  # a_{t-1}, r_t, first
        self._state = initial_state
        self._extras: dict[str, Any] = {}
        self._last_step: PolicyStep | None = None

    @property
    def last_step(self) -> PolicyStep | None:
        """The policy's last step, with a leading axis of 1; None before the first."""
        return self._last_step

    def observe_first(self, timestep: dm_env.TimeStep) -> None:
        """Starts an episode."""
        self._previous = (np.int32(0), np.float32(0), True)
        self._state = self._initial_state
        if self._adder is not None:
            self._adder.add_first(timestep)

    def select_action(self, observation: Observation) -> np.ndarray:
        """The policy's action, int32 []."""
        inputs = self._inputs(observation)
        output = self._policy(self._variables.params, self._key, inputs, self._state)
        self._extras = {
            "logits": np.asarray(output.logits)[0],
            "state": jax.tree.map(lambda x: np.asarray(x)[0], self._state),
            "params_step": self._variables.step,
        }
        self._state, self._key = output.state, output.key
        self._last_step = output
        return np.asarray(output.action)[0]

    def observe(self, action: np.ndarray, next_timestep: dm_env.TimeStep) -> None:
        """Remembers the action and its outcome, and passes them to the adder."""
        reward = np.float32(number("reward", next_timestep.reward))
        self._previous = (np.int32(action), reward, False)
        if self._adder is None:
            return
        if next_timestep.last() and next_timestep.discount > 0:
            inputs = self._inputs(next_timestep.observation)
            value = self._value_function(self._variables.current, inputs, self._state)
            self._extras["last_value"] = np.asarray(value)[0]
        self._adder.add(action, next_timestep, self._extras)

    def update(self, wait: bool = False) -> None:
        """Fetches newer parameters, in the background unless `wait`."""
        self._variables.update(wait)

    def _inputs(self, observation: Observation) -> AgentInput:
        """The network's input, [1, ...]."""
        action, reward, first = self._previous
        return agent_input(
            np.asarray(observation.features)[None],
            np.asarray(observation.task)[None],
            np.asarray([action]),
            np.asarray([reward]),
            np.asarray([first]),
        )
