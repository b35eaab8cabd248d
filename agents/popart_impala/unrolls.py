"""Steps -> overlapping unrolls."""

import pathlib
from typing import Protocol

import jax
import numpy as np
from dm_env import specs

from agents.popart_impala.types import AgentInput, Array, RecurrentState, Unroll
from environments import StackedFrames

Signature = Unroll  # with a dm_env.specs.Array, named after its field, in place of every array


def unroll_signature(
    features_spec: specs.Array,
    num_actions: int,
    unroll_length: int,
    initial_state: RecurrentState,
) -> Signature:
    """Returns the shapes and dtypes of one unroll, shared by actors, queue and learner.

    Args:
      features_spec: the environment's features; `StackedFrames` are sent as single frames.
      num_actions: size of the policy's output.
      unroll_length: T, agent steps.
      initial_state: a recurrent state [1, ...] of the network.

    Returns:
      An `Unroll` of named specs.
    """
    t = unroll_length
    shape = tuple(features_spec.shape)
    if isinstance(features_spec, StackedFrames):
        features_shape = (shape[0] - 1 + t + 1, *shape[1:])
    else:
        features_shape = (t + 1, *shape)
    state = jax.tree_util.tree_map_with_path(
        lambda path, x: specs.Array(
            x.shape[1:], x.dtype, "initial_state" + jax.tree_util.keystr(path)
        ),
        initial_state,
    )
    return Unroll(
        inputs=AgentInput(
            features=specs.Array(features_shape, features_spec.dtype, "inputs.features"),
            task=specs.Array((), np.int32, "inputs.task"),
            previous_action=specs.Array((t + 1,), np.int32, "inputs.previous_action"),
            previous_reward=specs.Array((t + 1,), np.float32, "inputs.previous_reward"),
            first=specs.Array((t + 1,), bool, "inputs.first"),
        ),
        action=specs.Array((t,), np.int32, "action"),
        reward=specs.Array((t,), np.float32, "reward"),
        discount=specs.Array((t,), np.float32, "discount"),
        behaviour_logits=specs.Array((t, num_actions), np.float32, "behaviour_logits"),
        initial_state=state,
        params_step=specs.Array((), np.int32, "params_step"),
        truncation_value=specs.Array((t,), np.float32, "truncation_value"),
    )


class UnrollBuffer:
    """Collects the steps of N environments into N unrolls of T steps."""

    def __init__(self, signature: Signature, num_environments: int):
        """Makes an empty buffer.

        Args:
          signature: of one unroll.
          num_environments: N.
        """
        self._signature = signature
        self._num_environments = num_environments
        self.unroll_length = signature.action.shape[0]
        # Frames that precede o_0 in its stack; 0 if features are not stacked.
        self._context = signature.inputs.features.shape[0] - (self.unroll_length + 1)
        self._t = 0
        self._unroll = self._allocate()

    def _allocate(self) -> Unroll:
        # Fresh arrays for every unroll: the writer may still be sending the last ones.
        return jax.tree.map(
            lambda spec: np.empty((self._num_environments, *spec.shape), spec.dtype),
            self._signature,
        )

    @property
    def full(self) -> bool:
        """Whether T steps have been added, so that only o_T is missing."""
        return self._t == self.unroll_length

    def add(
        self,
        inputs: AgentInput,
        state: RecurrentState,
        params_step: int,
        action: Array,
        logits: Array,
        reward: Array,
        discount: Array,
        truncation_value: Array = 0.0,
    ) -> None:
        """Adds step t: o_t, the recurrent state before it, a_t and its outcome.

        Args:
          inputs: o_t, [N, ...].
          state: recurrent state [N, ...] before o_t.
          params_step: learner step of the parameters that chose a_t.
          action: int32 [N].
          logits: float32 [N, num_actions].
          reward: float32 [N].
          discount: float32 [N].
          truncation_value: float32 [N], 0 where no time limit ended the episode.

        Raises:
          ValueError: the buffer is full.
        """
        if self.full:
            raise ValueError(f"unroll has its {self.unroll_length} steps: call finish() first")
        unroll, t = self._unroll, self._t
        if t == 0:
            unroll.params_step[:] = params_step
            jax.tree.map(lambda to, x: np.copyto(to, x), unroll.initial_state, state)
        self._set_inputs(inputs)
        unroll.action[:, t] = action
        unroll.behaviour_logits[:, t] = logits
        unroll.reward[:, t] = reward
        unroll.discount[:, t] = discount
        unroll.truncation_value[:, t] = truncation_value
        self._t += 1

    def finish(self, inputs: AgentInput) -> Unroll:
        """Completes the unrolls with o_T and starts the next ones, which begin with the same o_T.

        Args:
          inputs: o_T, [N, ...]; pass it to `add` again as the next unroll's o_0.

        Returns:
          N unrolls, as one `Unroll` of [N, ...] arrays that the buffer does not write to again.

        Raises:
          ValueError: fewer than T steps were added.
        """
        if not self.full:
            raise ValueError(f"unroll has only {self._t} of its {self.unroll_length} steps")
        self._set_inputs(inputs)
        complete = self._unroll
        self._unroll = self._allocate()
        self._t = 0
        return complete

    def _set_inputs(self, inputs: AgentInput) -> None:
        to, t = self._unroll.inputs, self._t
        if self._context and t == 0:
            to.features[:, : self._context + 1] = inputs.features  # o_0's whole stack
        elif self._context:
            to.features[:, self._context + t] = inputs.features[:, -1]  # the newest frame
        else:
            to.features[:, t] = inputs.features
        to.task[:] = inputs.task
        to.previous_action[:, t] = inputs.previous_action
        to.previous_reward[:, t] = inputs.previous_reward
        to.first[:, t] = inputs.first


class UnrollWriter(Protocol):
    """A destination for unrolls; `reverb_queue.QueueWriter` is the real one."""

    signature: Signature

    def write(self, unrolls: Unroll) -> None:
        """Writes N unrolls, given as one `Unroll` of [N, ...] arrays."""


def save_unroll(path: pathlib.Path, unroll: Unroll) -> None:
    """Writes a batch for `numpy.load`, one array per field of `Unroll`, under the field's name."""
    arrays = {
        jax.tree_util.keystr(field).lstrip("."): array
        for field, array in jax.tree_util.tree_leaves_with_path(unroll)
    }
    np.savez_compressed(path, **arrays)
