"""Builds a network by name, as pure functions."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from agents.popart_impala.network_config import NetworkConfig
from agents.popart_impala.networks.observations import OBSERVATION_STATISTICS, observed
from agents.popart_impala.networks.registry import NETWORKS
from agents.popart_impala.networks.types import NetworkOutput
from agents.popart_impala.types import AgentInput, Params, RecurrentState

# Upper limit for one network: 1 GiB in float32, and the learner holds several times as much.
MAX_PARAMS = 2**28


class Networks(NamedTuple):
    """Pure functions of one network."""

    init: Callable[[jax.Array], Params]
    # batch size -> recurrent state [B, ...], () without an LSTM
    initial_state: Callable[[int], RecurrentState]
    # (params, inputs [B, ...], state) -> (output [B, ...], next state)
    step: Callable[[Params, AgentInput, RecurrentState], tuple[NetworkOutput, RecurrentState]]
    # (params, inputs [T, B, ...], state before the first) -> output [T, B, ...]
    unroll: Callable[[Params, AgentInput, RecurrentState], NetworkOutput]
    num_actions: int
    num_tasks: int
    num_params: int  # learned numbers in the parameters from `init`


def make_networks(
    config: NetworkConfig, *, features_spec: Any, num_actions: int, num_tasks: int
) -> Networks:
    """Builds the network that `config` names, with its options.

    Args:
      config: the network's settings; `network` is a key of `NETWORKS`.
      features_spec: has `shape` and `dtype` of one environment's features, and `stacked`, true if
        they are a stack of frames; an `environments.StackedFrames`, for example.
      num_actions: size of the policy's output.
      num_tasks: number of value outputs.

    Raises:
      ValueError: the name is unknown, the network does not have an option that is set, it does not
        accept such features, or it would have more than `MAX_PARAMS` parameters.
    """
    name = config.network
    if name not in NETWORKS:
        raise ValueError(f"network={name!r}: must be one of {', '.join(sorted(NETWORKS))}")
    entry = NETWORKS[name]
    defaults = {field.name: field.default for field in dataclasses.fields(NetworkConfig)}
    for option in sorted({option for other in NETWORKS.values() for option in other.options}):
        value = getattr(config, option)
        if value != defaults[option] and option not in entry.options:
            able = ", ".join(n for n, other in sorted(NETWORKS.items()) if option in other.options)
            raise ValueError(f"{option}={value!r}: network={name!r} has no such option; {able} do")

    def build() -> tuple[Callable[..., Any], tuple[Callable[..., Any], ...]]:
        network = entry.make(config, num_actions, num_tasks)

        def seen(inputs: AgentInput) -> AgentInput:
            inputs = observed(inputs, config, features_spec, num_tasks)
            if entry.takes_observations:
                return inputs
            given = inputs.features
            return inputs._replace(
                features=given.features if given.normaliser is None else given.numbers()
            )

        def step(inputs: AgentInput, state: RecurrentState) -> Any:
            return network.step(seen(inputs), state)

        def unroll(inputs: AgentInput, state: RecurrentState) -> Any:
            return network.unroll(seen(inputs), state)

        return step, (network.initial_state, step, unroll)

    transformed = hk.without_apply_rng(hk.multi_transform(build))
    apply_initial_state, apply_step, apply_unroll = transformed.apply

    def initial_state(batch_size: int) -> RecurrentState:
        return apply_initial_state({}, batch_size)

    def init(rng: jax.Array) -> Params:
        inputs = AgentInput(
            features=jnp.zeros((1, *features_spec.shape), features_spec.dtype),
            task=jnp.zeros(1, jnp.int32),
            previous_action=jnp.zeros(1, jnp.int32),
            previous_reward=jnp.zeros(1),
            first=jnp.ones(1, bool),
        )
        return transformed.init(rng, inputs, initial_state(1))

    # A torso's errors are raised here, not later in a node.
    params = jax.eval_shape(init, jax.random.PRNGKey(0))
    learned = {module: x for module, x in params.items() if module != OBSERVATION_STATISTICS}
    num_params = sum(leaf.size for leaf in jax.tree.leaves(learned))
    if num_params > MAX_PARAMS:
        raise ValueError(
            f"network={name!r}: would have {num_params:,} parameters, {4 * num_params:,} bytes, "
            f"with {num_actions:,} actions, observations of {list(features_spec.shape)} and "
            f"hidden_size={config.hidden_size}; it must be at most {MAX_PARAMS:,} parameters"
        )
    return Networks(
        init,
        initial_state,
        apply_step,
        apply_unroll,
        num_actions,
        num_tasks,
        num_params=num_params,
    )
