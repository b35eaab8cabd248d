"""What first layers see: observations, and each task's mean of them, which they subtract.

A screen is a still background with a few small things that move. Of what a network makes of it, the
part that never changes is many times as long as the rest, and gradient steps go almost all along
that part (LeCun et al. 2012, "Efficient BackProp", section 4.3). Without the mean, what moves is
all there is. What this gains is in docs/results.md.

The mean is a parameter that no gradient changes: it is published, saved and exported with the
others.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from agents.popart_impala.frame_stacks import FrameSequences
from agents.popart_impala.network_config import NetworkConfig
from agents.popart_impala.types import AgentInput, Array, Params, Unroll

# Haiku's name of the module; params[OBSERVATION_MEAN] is {"mean", "count"}.
OBSERVATION_MEAN = "observation_mean"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Observations:
    """N observations as the environment gave them, and what is to be subtracted from them."""

    features: Array | FrameSequences  # [N, ...]; [T, B, ...] until steps are merged
    # float32 [num_tasks, ...], in the features' units; of stacks [num_tasks, 1, ...], the same for
    # all frames. None: nothing is subtracted.
    mean: Array | None = None
    task: Array | None = None  # int32 [N], where there is a mean

    def merged(self, merge: Callable[[jax.Array], jax.Array]) -> "Observations":
        """Observations of sequences as N of them; `merge` maps [T, B, ...] to [N, ...]."""
        features, task = self.features, self.task
        if not isinstance(features, FrameSequences):
            features = merge(features)
        return Observations(features, self.mean, None if task is None else merge(task))

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the features."""
        return self.features.shape

    @property
    def dtype(self) -> Any:
        """That of the features."""
        return self.features.dtype

    def centred(self) -> jax.Array:
        """The features without their task's mean, float32 [N, ...]."""
        features = self.features
        if isinstance(features, FrameSequences):
            features = features.stacks()
        numbers = features.astype(jnp.float32)
        return numbers if self.mean is None else numbers - self.mean[self.task]


class ObservationMean(hk.Module):
    """The tasks' mean observations."""

    def __init__(self, num_tasks: int, stacked: bool):
        """Makes the module.

        Args:
          num_tasks: number of tasks.
          stacked: features are stacks of frames, which share one mean.
        """
        super().__init__(name=OBSERVATION_MEAN)
        self._num_tasks = num_tasks
        self._stacked = stacked

    def __call__(self, inputs: AgentInput) -> Observations:
        """Puts features and tasks together with the means; leading axes [B] or [T, B]."""
        features, task = inputs.features, inputs.task
        leading = 1 if isinstance(features, FrameSequences) else task.ndim
        shape = features.shape[leading:]
        if self._stacked:
            shape = (1, *shape[1:])
        mean = hk.get_parameter("mean", (self._num_tasks, *shape), init=jnp.zeros)
        hk.get_parameter("count", (self._num_tasks,), init=jnp.zeros)
        return Observations(features, jax.lax.stop_gradient(mean), task)


def observed(
    inputs: AgentInput, config: NetworkConfig, num_tasks: int, stacked: bool
) -> AgentInput:
    """The inputs with `Observations` for features; within a Haiku transformation.

    Args:
      inputs: leading axes [B] or [T, B]; `features` of sequences may be `FrameSequences`.
      config: the network's settings.
      num_tasks: number of tasks.
      stacked: features are stacks of frames.
    """
    if config.centre_observations:
        observations = ObservationMean(num_tasks, stacked)(inputs)
    else:
        observations = Observations(inputs.features)
    return inputs._replace(features=observations)


def with_observed(params: Params, unrolls: Unroll, stacked: bool) -> Params:
    """Parameters with the tasks' means after one more batch.

    The mean is a plain average over the batches that had the task, of which each counts by its mean
    over the unrolls' last observations: others of an unroll are much like it.

    Args:
      params: with or without means.
      unrolls: [B, ...] arrays.
      stacked: whether they hold single frames of stacks.

    Returns:
      The parameters; the same where they have no means. A task that the batch does not have keeps
      its mean to the bit.
    """
    if OBSERVATION_MEAN not in params:
        return params
    mean, count = params[OBSERVATION_MEAN]["mean"], params[OBSERVATION_MEAN]["count"]
    last = unrolls.inputs.features[:, -1].astype(jnp.float32)
    if stacked:
        last = last[:, None]
    member = jax.nn.one_hot(unrolls.inputs.task, len(count))  # [B, num_tasks]
    sizes = jnp.sum(member, axis=0)
    present = sizes > 0
    of_batch = jnp.einsum("bn,b...->n...", member / jnp.maximum(sizes, 1.0)[None], last)
    count = count + present
    weight = present / jnp.maximum(count, 1.0)
    weight = weight.reshape(-1, *([1] * (mean.ndim - 1)))
    return {
        **params,
        OBSERVATION_MEAN: {"mean": mean + weight * (of_batch - mean), "count": count},
    }
