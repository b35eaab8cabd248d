"""Parameters and observations -> actions and unrolls, for many environments at once."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from agents.popart_impala.choosing import choose_actions
from agents.popart_impala.networks import Networks
from agents.popart_impala.types import (
    AgentInput,
    Array,
    Params,
    PolicyVariables,
    RecurrentState,
    agent_input,
)
from agents.popart_impala.unrolls import UnrollBuffer, UnrollWriter
from agents.popart_impala.variables import VariableClient
from environments import BatchedEnvironment, BatchedTimeStep

# Networks whose compiled functions are cached. A process uses one, or a few in turn.
_COMPILED = 8


class PolicyStep(NamedTuple):
    """One step of the policy for B environments."""

    action: Array  # int32 [B]
    logits: Array  # float32 [B, num_actions]
    state: RecurrentState  # [B, ...], after the step
    key: chex.PRNGKey  # for the next step
    attention: Array | None  # float32 [B, K], weights of sub-networks, if the network has them
    # float32 [B, num_tasks], PopArt's normalised values, if requested
    normalised_values: Array | None


# (params, random key, inputs [B, ...], recurrent state [B, ...]) -> PolicyStep
Policy = Callable[[Params, chex.PRNGKey, AgentInput, RecurrentState], PolicyStep]


@functools.lru_cache(maxsize=_COMPILED)
def make_policy(networks: Networks, *, greedy: bool = False, values: bool = False) -> Policy:
    """Returns the compiled policy, cached so that it compiles once for the same network.

    Args:
      networks: the network.
      greedy: takes the likeliest action instead of sampling from the logits.
      values: also computes the values, which actors do not need in training.
    """

    @jax.jit
    def policy(
        params: Params, key: chex.PRNGKey, inputs: AgentInput, state: RecurrentState
    ) -> PolicyStep:
        output, state = networks.step(params, inputs, state)
        action, key = choose_actions(key, output.logits, greedy=greedy)
        normalised_values = output.normalised_values if values else None
        return PolicyStep(action, output.logits, state, key, output.attention, normalised_values)

    return policy


# (variables, inputs [B, ...], recurrent state [B, ...]) -> float32 [B], unnormalised values, each
# for the input's own task
ValueFunction = Callable[[PolicyVariables, AgentInput, RecurrentState], Array]


@functools.lru_cache(maxsize=_COMPILED)
def make_value_function(networks: Networks) -> ValueFunction:
    """Returns the compiled values, which actors need where a time limit cuts an episode off.

    Cached for the same network, as `make_policy` is.
    """

    @jax.jit
    def value(variables: PolicyVariables, inputs: AgentInput, state: RecurrentState) -> Array:
        output, _ = networks.step(variables.params, inputs, state)
        normalised = output.normalised_values
        sigma, mu = (jnp.broadcast_to(x, normalised.shape) for x in (variables.sigma, variables.mu))
        values = sigma * normalised + mu
        return jnp.take_along_axis(values, inputs.task[:, None], axis=1).squeeze(1)

    return value


class EpisodeResult(NamedTuple):
    """A finished episode, scored in the environment's own rewards."""

    task: int
    episode_return: float  # sum of unclipped rewards
    episode_length: int  # agent steps


class BatchedActor:
    """Steps N environments together and writes their unrolls to the queue."""

    def __init__(
        self,
        environment: BatchedEnvironment,
        policy: Policy,
        value_function: ValueFunction,
        initial_state: RecurrentState,
        variables: VariableClient,
        writer: UnrollWriter,
        random_key: chex.PRNGKey,
    ):
        """Starts every environment's first episode.

        Args:
          environment: N environments of any tasks.
          policy: as returned by `make_policy`.
          value_function: as returned by `make_value_function`.
          initial_state: recurrent state [N, ...].
          variables: source of parameters.
          writer: destination of unrolls; its signature sets their length.
          random_key: for sampling actions.
        """
        self._environment = environment
        self._policy = policy
        self._value_function = value_function
        self._state = initial_state
        self._variables = variables
        self._writer = writer
        self._key = random_key
        self._buffer = UnrollBuffer(writer.signature, environment.num_environments)
        timestep = environment.reset()
        self._returns = np.zeros(environment.num_environments, np.float64)
        self._lengths = np.zeros(environment.num_environments, np.int64)
        self._inputs = _batch_input(np.zeros(environment.num_environments, np.int32), timestep)

    @property
    def steps_per_unroll(self) -> int:
        """Agent steps per call of `run_unroll`, over all environments."""
        return self._buffer.unroll_length * self._environment.num_environments

    def run_unroll(self) -> list[EpisodeResult]:
        """Plays and writes one unroll per environment, all with the same version of the parameters.

        Returns:
          The episodes that ended.
        """
        self._variables.update(wait=True)
        params, params_step = self._variables.params, self._variables.step
        results: list[EpisodeResult] = []
        while not self._buffer.full:
            before = self._state
            output = self._policy(params, self._key, self._inputs, before)
            self._state, self._key = output.state, output.key
            action = np.asarray(output.action)
            timestep = self._environment.step(action)
            discount, truncation_value = self._after_time_limits(action, timestep)
            self._buffer.add(
                self._inputs,
                before,
                params_step,
                action,
                np.asarray(output.logits),
                timestep.reward,
                discount,
                truncation_value,
            )
            self._inputs = _batch_input(action, timestep)
            self._returns += timestep.reward
            self._lengths += 1
            for i in np.flatnonzero(timestep.episode_end):
                results.append(
                    EpisodeResult(
                        int(self._environment.tasks[i]),
                        float(self._returns[i]),
                        int(self._lengths[i]),
                    )
                )
                self._returns[i] = 0.0
                self._lengths[i] = 0
            abandoned = timestep.abandoned
            self._returns[abandoned] = 0.0
            self._lengths[abandoned] = 0
        self._writer.write(self._buffer.finish(self._inputs))
        return results

    def _after_time_limits(
        self, action: np.ndarray, timestep: BatchedTimeStep
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the discounts and truncation values [N] of a step, as in `Unroll`."""
        truncated = timestep.truncated
        if timestep.final_features is None or not truncated.any():
            return timestep.discount, np.zeros_like(timestep.discount)
        # For all N, so that it compiles once; values of environments that continue are unused.
        inputs = agent_input(
            timestep.final_features,
            timestep.observation.task,
            action,
            timestep.reward,
            np.zeros_like(timestep.first),
        )
        values = np.asarray(self._value_function(self._variables.current, inputs, self._state))
        zero = np.float32(0)
        return (
            np.where(truncated, zero, timestep.discount),
            np.where(truncated, timestep.discount * values, zero),
        )


def _batch_input(action: np.ndarray, timestep: BatchedTimeStep) -> AgentInput:
    """The network's input for environments that have taken these actions."""
    observation = timestep.observation
    return agent_input(
        observation.features, observation.task, action, timestep.reward, timestep.first
    )
