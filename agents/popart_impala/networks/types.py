"""Inputs, outputs and parts of networks."""

from typing import Any, NamedTuple, Protocol

import jax

from agents.popart_impala.types import AgentInput, RecurrentState

# Haiku's name of the layer whose outputs PopArt normalises: params[VALUE_HEAD] is {"w", "b"}.
VALUE_HEAD = "value_head"


class NetworkOutput(NamedTuple):
    """Heads of the network; leading axes [B] or [T, B]."""

    logits: jax.Array  # float32 [..., num_actions]
    normalised_values: jax.Array  # float32 [..., num_tasks]
    # float32 [..., K], weights of an attentive network's sub-networks, which sum to 1; else None
    attention: jax.Array | None = None


class TorsoOutput(NamedTuple):
    """A torso's output for B observations."""

    embedding: jax.Array  # float32 [B, D]
    attention: jax.Array | None = None  # float32 [B, K], as in `NetworkOutput`


class Torso(Protocol):
    """A Haiku module from observations to embeddings."""

    def __call__(self, features: Any, task: jax.Array) -> TorsoOutput:
        """Maps features [B, ...], an array or `Observations` as the registry says, and task [B]."""


class Network(Protocol):
    """A whole network, within a Haiku transformation."""

    def initial_state(self, batch_size: int) -> RecurrentState:
        """The recurrent state [B, ...] before an episode, () for a feed-forward network."""

    def step(
        self, inputs: AgentInput, state: RecurrentState
    ) -> tuple[NetworkOutput, RecurrentState]:
        """One time step: inputs [B, ...], state before it -> output [B, ...], state after it."""

    def unroll(self, inputs: AgentInput, state: RecurrentState) -> NetworkOutput:
        """A sequence: inputs [T, B, ...], state before the first -> output [T, B, ...]."""
