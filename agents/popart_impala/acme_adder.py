"""Acme's adder: the steps of one environment -> unrolls -> the queue."""

from collections.abc import Mapping
from typing import Any

import dm_env
import jax
import numpy as np
from acme import adders

from agents.popart_impala.types import AgentInput, Array, agent_input
from agents.popart_impala.unrolls import UnrollBuffer, UnrollWriter
from environments.conversion import number


class UnrollAdder(adders.Adder):
    """Acme's adder for one environment: writes an unroll every T steps, across episode ends.

    Observations are `environments.Observation`s, and `extras` is a mapping with the policy's
    "logits" [num_actions], the recurrent "state" before the observation, the "params_step" of the
    parameters, and, where a time limit ends the episode, "last_value", the unnormalised value of
    its last observation; this package's actor provides them.
    """

    def __init__(self, writer: UnrollWriter):
        """Makes an adder that writes to `writer`."""
        self._writer = writer
        self.reset()

    def reset(self) -> None:
        """Forgets the steps of the unfinished unroll."""
        self._buffer = UnrollBuffer(self._writer.signature, num_environments=1)
        self._inputs: AgentInput | None = None

    def add_first(self, timestep: dm_env.TimeStep) -> None:
        """Adds an episode's first observation.

        Raises:
          ValueError: `timestep` is not a first one.
        """
        if not timestep.first():
            raise ValueError(f"add_first needs a FIRST time step, not {timestep.step_type!r}")
        self._observe(timestep, np.int32(0), np.float32(0))

    def add(
        self, action: Array, next_timestep: dm_env.TimeStep, extras: Mapping[str, Any] = {}
    ) -> None:
        """Adds a_t and its outcome.

        Raises:
          ValueError: no observation was added before the action.
        """
        if self._inputs is None:
            raise ValueError("add needs add_first at the start of an episode")
        reward = number("reward", next_timestep.reward)
        discount, truncation_value = number("discount", next_timestep.discount), 0.0
        if next_timestep.last() and discount > 0:
            discount, truncation_value = 0.0, discount * extras["last_value"]
        self._buffer.add(
            self._inputs,
            jax.tree.map(lambda x: np.asarray(x)[None], extras["state"]),
            extras["params_step"],
            action,
            extras["logits"],
            reward,
            discount,
            truncation_value,
        )
        if next_timestep.last():
            self._inputs = None  # o_{t+1} is the next episode's first observation
        else:
            self._observe(next_timestep, np.int32(action), np.float32(reward))

    def _observe(self, timestep: dm_env.TimeStep, action: Array, reward: Array) -> None:
        self._inputs = agent_input(
            # Copies: the environment may have reused its arrays by the time these are used.
            np.array(timestep.observation.features)[None],
            np.array(timestep.observation.task)[None],
            np.asarray([action]),
            np.asarray([reward]),
            np.asarray([timestep.first()]),
        )
        if self._buffer.full:
            self._writer.write(self._buffer.finish(self._inputs))
