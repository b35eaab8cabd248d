"""What first layers see: images normalised per task, pixel by pixel, and the rest as it is.

A screen is a still background with a few small things that move. Of what a network makes of it, the
part that never changes is many times as long as the rest, and gradient steps go almost all along
that part (LeCun et al. 2012, "Efficient BackProp", section 4.3). Without each pixel's mean, what
moves is all there is; divided by its deviation, a ball that crosses a pixel once in a hundred steps
is as loud as what is always there. What this gains is in docs/experiments.md.

The statistics are parameters that no gradient changes: they are published, saved and exported with
the others.
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

# Of normalised observations. A new scene differs from the mean in many deviations everywhere.
BOUND = 5.0

# Added to the deviation, of 255: noise where nothing has moved yet is not made loud.
_LEAST_DEVIATION = 4.0


class Normaliser(NamedTuple):
    """What is subtracted and multiplied: float32 [num_tasks, ...], of stacks with one frame."""

    mean: Array  # in the features' units
    scale: Array  # 1 / deviation, in the inverse of them


@dataclasses.dataclass(frozen=True)
class Observations:
    """N observations as the environment gave them, and how they are to be normalised."""

    features: Array  # [N, ...]; [T, B, ...] until steps are merged
    normaliser: Normaliser | None = None  # None: they are taken as they are
    task: Array | None = None  # int32 [N], where there is a normaliser

    def merged(self, merge: Callable[[jax.Array], jax.Array]) -> "Observations":
        """Observations of sequences as N of them; `merge` maps [T, B, ...] to [N, ...]."""
        task = None if self.task is None else merge(self.task)
        return Observations(merge(self.features), self.normaliser, task)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the features."""
        return self.features.shape

    @property
    def dtype(self) -> Any:
        """That of the features."""
        return self.features.dtype

    def numbers(self) -> jax.Array:
        """The features normalised, or else as they are: float32 [N, ...]."""
        if self.normaliser is None:
            return self.features.astype(jnp.float32)
        return self.pixels()

    def pixels(self, arrange: Callable[[Array], Array] = lambda x: x) -> jax.Array:
        """The features normalised, or else with bytes scaled to [0, 1]: float32.

        Args:
          arrange: moves entries of [N, ...], before they become numbers: bytes are cheaper to move.
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
          stacked: features are stacks of frames, which share their statistics.
        """
        super().__init__(name=OBSERVATION_STATISTICS)
        self._num_tasks = num_tasks
        self._stacked = stacked

    def __call__(self, inputs: AgentInput) -> Observations:
        """The inputs' features; leading axes [B] or [T, B]."""
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
    """The inputs with `Observations` for features; within a Haiku transformation.

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
    """Parameters with the statistics after one more batch.

    Mean and variance are those of all batches that had the task, each with the same weight, and of
    each its unrolls' last observations: others of an unroll are much like it.

    Args:
      params: with or without statistics.
      unrolls: [B, ...] arrays.
      stacked: whether they hold single frames of stacks.

    Returns:
      The parameters; the same where they have no statistics. A task that the batch does not have
      keeps its own to the bit.
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
