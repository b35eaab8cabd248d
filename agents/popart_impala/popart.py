"""PopArt: values normalised per task, outputs preserved.

van Hasselt et al. 2016, arXiv 1602.07714; per task and with V-trace: Hessel et al. 2018, arXiv
1809.04474.

Task i has a mean mu_i and a scale sigma_i. The value head's output n is the normalised value, and
sigma_i n + mu_i the value itself. The papers keep the first two moments mu and nu with
sigma = sqrt(nu - mu^2). We keep mu and the variance v = nu - mu^2: the same update in exact
arithmetic, but float32 does not lose the variance where mu is large (at mu = 1e5, nu = 1e10 has a
rounding step of 1024).

We also keep, for the scale of advantages, their running moments (`losses.standardise`) and the mean
square of all rewards so far (`losses.reward_spread`).
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from agents.popart_impala.config import Config
from agents.popart_impala.moments import mixed_moments

# Smallest step size of the advantages' moving averages, which thus remember about a hundred
# minibatches.
ADVANTAGE_STEP_SIZE = 0.01


class PopArtState(NamedTuple):
    """Statistics of value targets and, our addition, of rewards and advantages; one entry per task.

    All are in points, not normalised.
    """

    mean: jax.Array  # float32 [num_tasks], mu
    variance: jax.Array  # float32 [num_tasks], nu - mu^2
    reward_square: jax.Array  # float32 [num_tasks], mean square of all rewards so far
    advantage_mean: jax.Array  # float32 [num_tasks]
    advantage_variance: jax.Array  # float32 [num_tasks]
    updates: jax.Array  # int32 [num_tasks], number of updates of the task's statistics


class Scale(NamedTuple):
    """The affine map between normalised and unnormalised values, one entry per task."""

    mu: jax.Array  # float32 [num_tasks]
    sigma: jax.Array  # float32 [num_tasks]


class Head(NamedTuple):
    """The last linear layer of the values: n = x w + b."""

    w: jax.Array  # float32 [num_features, num_tasks]
    b: jax.Array  # float32 [num_tasks]


def initial_state(num_tasks: int) -> PopArtState:
    """Mean 0 and variance 1 for every task, so that normalising changes nothing; the rest 0."""
    return PopArtState(
        mean=jnp.zeros(num_tasks),
        variance=jnp.ones(num_tasks),
        reward_square=jnp.zeros(num_tasks),
        advantage_mean=jnp.zeros(num_tasks),
        advantage_variance=jnp.zeros(num_tasks),
        updates=jnp.zeros(num_tasks, jnp.int32),
    )


def extend(kept: PopArtState, initial: PopArtState) -> PopArtState:
    """Joins `kept` for the first tasks with `initial` for the tasks after them."""
    return jax.tree.map(lambda k, i: jnp.concatenate([k, i[len(k) :]]), kept, initial)


def scale_of(state: PopArtState, scale_min: float, scale_max: float) -> Scale:
    """mu and sigma = sqrt(variance), sigma clipped to [scale_min, scale_max]."""
    return Scale(state.mean, jnp.clip(jnp.sqrt(state.variance), scale_min, scale_max))


def configured_scale(state: PopArtState, config: Config) -> Scale:
    """`scale_of` with the bounds in `config`."""
    return scale_of(state, config.popart_scale_min, config.popart_scale_max)


def step_sizes(state: PopArtState, step_size: float) -> jax.Array:
    """Step size of each task's next update of statistics: max(step_size, 1 / (updates + 2)).

    The statistics thus start as plain averages over the batches so far, counting the initial
    statistics as the first batch, until the average would move by less than `step_size`. The papers
    use `step_size` from the first update on; with 3e-4 the statistics then need thousands of
    updates to converge, during which rewards are practically unnormalised (docs/results.md).

    Args:
      state: the statistics before the step.
      step_size: in (0, 1], the smallest step.

    Returns:
      float32 [num_tasks].
    """
    return jnp.maximum(step_size, 1.0 / (state.updates + 2.0))


def task_means(
    x: jax.Array, weights: jax.Array, tasks: jax.Array, num_tasks: int
) -> tuple[jax.Array, jax.Array]:
    """Returns each task's mean over the steps that count.

    Args:
      x: float32 [T, B].
      weights: float32 [T, B], 1 for a step that counts, 0 for one that does not.
      tasks: int32 [B], the task of each sequence.
      num_tasks: number of tasks.

    Returns:
      The means, float32 [num_tasks], 0 for a task with no step that counts; and each task's number
      of steps that count, float32 [num_tasks].
    """
    member = weights[:, :, None] * jax.nn.one_hot(tasks, num_tasks)[None]  # [T, B, num_tasks]
    steps = jnp.sum(member, axis=(0, 1))
    divisor = jnp.where(steps > 0, steps, 1.0)
    # Sums, not matrix products, which some devices compute with 10 bits of mantissa.
    return jnp.sum(member * x[:, :, None], axis=(0, 1)) / divisor, steps


def _task_moments(
    x: jax.Array, weights: jax.Array, tasks: jax.Array, num_tasks: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns each task's mean and variance, and whether it has a step that counts."""
    mean, steps = task_means(x, weights, tasks, num_tasks)
    square = (x - jnp.take(mean, tasks)[None]) ** 2
    return mean, task_means(square, weights, tasks, num_tasks)[0], steps > 0


def update_statistics(
    state: PopArtState,
    targets: jax.Array,
    rewards: jax.Array,
    weights: jax.Array,
    tasks: jax.Array,
    step_size: jax.Array,
) -> PopArtState:
    """Takes one moving-average step towards a batch's moments, task by task.

    With m and s the mean and variance of a task's targets in the batch and b the step size:
    mu' = (1-b) mu + b m, and v' = (1-b) v + b s + b (1-b) (mu - m)^2, which is
    nu' - mu'^2 for nu' = (1-b) nu + b (s + m^2).

    The mean square of rewards is a plain average over batches: q' = q + (E[r^2] - q) / (n + 1)
    after n updates. A moving average would forget the rewards of a game that pays a few times in a
    million steps, and noise measured against it would pass for signal.

    Args:
      state: the statistics before the step.
      targets: float32 [T, B], unnormalised value targets.
      rewards: float32 [T, B], as the loss sees them.
      weights: float32 [T, B], 1 for a step that counts, 0 for one that does not.
      tasks: int32 [B], the task of each sequence.
      step_size: float32 [num_tasks], b of each task, in (0, 1].

    Returns:
      The statistics after the step. A task with no step that counts keeps its statistics exactly.
    """
    chex.assert_rank([targets, rewards, weights, tasks], [2, 2, 2, 1])
    chex.assert_equal_shape([targets, rewards, weights])
    chex.assert_shape(tasks, targets.shape[1:])
    chex.assert_equal_shape([step_size, state.mean])
    batch_mean, batch_variance, present = _task_moments(targets, weights, tasks, len(state.mean))
    mean, variance = mixed_moments(
        state.mean, state.variance, batch_mean, batch_variance, step_size
    )
    batch_square, _ = task_means(rewards**2, weights, tasks, len(state.mean))
    square = state.reward_square + (batch_square - state.reward_square) / (state.updates + 1.0)
    return state._replace(
        mean=jnp.where(present, mean, state.mean),
        variance=jnp.where(present, variance, state.variance),
        reward_square=jnp.where(present, square, state.reward_square),
        updates=state.updates + present.astype(jnp.int32),
    )


def update_advantages(
    state: PopArtState, advantages: jax.Array, weights: jax.Array, tasks: jax.Array
) -> PopArtState:
    """Takes one moving-average step towards the moments of a batch's advantages, task by task.

    The step size is max(`ADVANTAGE_STEP_SIZE`, 1 / n) for a task's n-th update, so that the moments
    start as those of all advantages so far.

    Args:
      state: the statistics, with the batch already counted in `updates`.
      advantages: float32 [T, B], in points.
      weights: float32 [T, B], 1 for a step that counts, 0 for one that does not.
      tasks: int32 [B], the task of each sequence.

    Returns:
      The statistics after the step. A task with no step that counts keeps its statistics exactly.
    """
    batch_mean, batch_variance, present = _task_moments(advantages, weights, tasks, len(state.mean))
    step_size = jnp.maximum(ADVANTAGE_STEP_SIZE, 1.0 / jnp.maximum(1, state.updates))
    mean, variance = mixed_moments(
        state.advantage_mean, state.advantage_variance, batch_mean, batch_variance, step_size
    )
    return state._replace(
        advantage_mean=jnp.where(present, mean, state.advantage_mean),
        advantage_variance=jnp.where(present, variance, state.advantage_variance),
    )


def renormalise(normalised: jax.Array, old: Scale, new: Scale) -> jax.Array:
    """Converts values normalised under `old` to values normalised under `new`; shapes broadcast."""
    return normalised * (old.sigma / new.sigma) + (old.mu - new.mu) / new.sigma


def preserve_outputs(head: Head, old: Scale, new: Scale) -> Head:
    """Returns a head whose unnormalised values under `new` equal those of `head` under `old`.

    w' = w sigma / sigma', b' = (sigma b + mu - mu') / sigma' (arXiv 1809.04474, equation 9).
    """
    return Head(w=head.w * (old.sigma / new.sigma)[None], b=renormalise(head.b, old, new))


def preserved_head_gradient(gradient: Head, old: Scale, new: Scale) -> Head:
    """Converts the loss's gradient at the old head to its gradient at the preserved head.

    A loss L(renormalise(x w + b)) has dL/dw = (sigma / sigma') x dL/dn', and dL/dw' = x dL/dn'.
    Every other parameter has the same gradient at both, so one forward and backward pass at the old
    parameters gives the gradient at the preserved ones.
    """
    ratio = new.sigma / old.sigma
    return Head(w=gradient.w * ratio[None], b=gradient.b * ratio)
