"""The input of first layers: images normalised per task and pixel, other observations unchanged.

A screen is a still background with a few small moving objects. In a network's response to it, the
part that never changes is many times larger than the rest, and gradient steps point almost entirely
along that part (LeCun et al. 2012, "Efficient BackProp", section 4.3). Subtracting each pixel's
mean leaves only what moves; dividing by its deviation makes a ball that crosses a pixel once in a
hundred steps as loud as what is always there. The gain is in docs/experiments.md.

The statistics are parameters that no gradient changes, so they are published, saved and exported
with the others.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from agents.popart_impala.moments import mixed_moments
from agents.popart_impala.network_config import NetworkConfig
from agents.popart_impala.networks.images import are_images, are_stacks
from agents.popart_impala.types import AgentInput, Array, Params, Unroll

# Haiku's name of the module; params[OBSERVATION_STATISTICS] is {"mean", "variance", "count"}.
OBSERVATION_STATISTICS = "observation_statistics"

# Bound on normalised observations. A new scene is many deviations from the mean everywhere.
BOUND = 5.0

# Added to the deviation, out of 255, so that noise where nothing has moved yet stays quiet.
_LEAST_DEVIATION = 4.0


class Normaliser(NamedTuple):
    """What to subtract, then multiply by: float32 [num_tasks, ...]; for stacks, one frame."""

    mean: Array  # in the features' units
    scale: Array  # 1 / deviation, in the inverse of those units


@dataclasses.dataclass(frozen=True)
class Observations:
    """N observations as the environment gave them, and how to normalise them."""

    features: Array  # [N, ...]; [T, B, ...] until steps are merged
    normaliser: Normaliser | None = None  # None: they are not normalised
    task: Array | None = None  # int32 [N], if there is a normaliser

    def merged(self, merge: Callable[[jax.Array], jax.Array]) -> "Observations":
        """Merges the two axes of sequences by `merge`, which maps [T, B, ...] to [N, ...]."""
        task = None if self.task is None else merge(self.task)
        return Observations(merge(self.features), self.normaliser, task)

    @property
    def shape(self) -> tuple[int, ...]:
        """The features' shape."""
        return self.features.shape

    @property
    def dtype(self) -> Any:
        """The features' dtype."""
        return self.features.dtype

    def numbers(self) -> jax.Array:
        """The features, normalised if there is a normaliser: float32 [N, ...]."""
        if self.normaliser is None:
            return self.features.astype(jnp.float32)
        return self.pixels()

    def pixels(self, arrange: Callable[[Array], Array] = lambda x: x) -> jax.Array:
        """The features normalised, or else with bytes scaled to [0, 1]: float32.

        Args:
          arrange: moves entries of [N, ...] before they become float32: bytes are cheaper to move.
        """
        numbers = arrange(self.features).astype(jnp.float32)
        if self.normaliser is not None:
            mean, scale = (arrange(statistic)[self.task] for statistic in self.normaliser)
            return jnp.clip((numbers - mean) * scale, -BOUND, BOUND)
        return numbers / 255.0 if self.dtype == jnp.uint8 else numbers


class ObservationStatistics(hk.Module):
    """Mean and variance of each task's images."""

    def __init__(self, num_tasks: int, stacked: bool):
        """Makes the module.

        Args:
          num_tasks: number of tasks.
          stacked: features are stacks of frames, which share the same statistics.
        """
        super().__init__(name=OBSERVATION_STATISTICS)
        self._num_tasks = num_tasks
        self._stacked = stacked

    def __call__(self, inputs: AgentInput) -> Observations:
        """Returns the inputs' features with their statistics; leading axes [B] or [T, B]."""
        features, task = inputs.features, inputs.task
        shape = features.shape[task.ndim :]
        if self._stacked:
            shape = (1, *shape[1:])
        shape = (self._num_tasks, *shape)
        mean = hk.get_parameter("mean", shape, init=jnp.zeros)
        variance = hk.get_parameter("variance", shape, init=jnp.zeros)
        hk.get_parameter("count", shape[:1], init=jnp.zeros)
        scale = 1.0 / (jnp.sqrt(variance) + _LEAST_DEVIATION)
        return Observations(features, Normaliser(*map(jax.lax.stop_gradient, (mean, scale))), task)


def observed(
    inputs: AgentInput, config: NetworkConfig, features_spec: Any, num_tasks: int
) -> AgentInput:
    """Wraps the inputs' features in `Observations`; within a Haiku transformation.

    Args:
      inputs: leading axes [B] or [T, B].
      config: the network's settings.
      features_spec: as `make_networks` takes it.
      num_tasks: number of tasks.
    """
    if config.normalise_images and are_images(features_spec):
        statistics = ObservationStatistics(num_tasks, are_stacks(features_spec))
        return inputs._replace(features=statistics(inputs))
    return inputs._replace(features=Observations(inputs.features))


def with_observed(params: Params, unrolls: Unroll, stacked: bool) -> Params:
    """Updates the observation statistics in the parameters with one more batch.

    A task's mean and variance are over all batches that had the task, equally weighted. Only the
    last observation of each unroll counts, since the others are much like it.

    Args:
      params: with or without statistics.
      unrolls: [B, ...] arrays.
      stacked: whether unrolls hold frame stacks as single frames.

    Returns:
      The parameters, unchanged if they have no statistics. A task absent from the batch keeps its
      statistics bit for bit.
    """
    if OBSERVATION_STATISTICS not in params:
        return params
    before = params[OBSERVATION_STATISTICS]
    mean, variance, count = (jnp.asarray(before[name]) for name in ("mean", "variance", "count"))
    last = unrolls.inputs.features[:, -1].astype(jnp.float32)
    if stacked:
        last = last[:, None]

    def per_task(x: jax.Array) -> jax.Array:
        return x.reshape(-1, *([1] * (mean.ndim - 1)))

    member = jax.nn.one_hot(unrolls.inputs.task, len(count))  # [B, num_tasks]
    sizes = jnp.sum(member, axis=0)
    shares = member / jnp.maximum(sizes, 1.0)[None]
    batch_mean = jnp.einsum("bn,b...->n...", shares, last)
    deviation = last - batch_mean[unrolls.inputs.task]
    batch_variance = jnp.einsum("bn,b...->n...", shares, deviation**2)
    present = sizes > 0
    count = count + present
    step = per_task(present / jnp.maximum(count, 1.0))
    mean, variance = mixed_moments(mean, variance, batch_mean, batch_variance, step)
    return {
        **params,
        OBSERVATION_STATISTICS: {"mean": mean, "variance": variance, "count": count},
    }
