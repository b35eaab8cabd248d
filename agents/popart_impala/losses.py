"""The loss: V-trace actor-critic on values that PopArt normalises per task.

Espeholt et al. 2018, arXiv 1802.01561; Hessel et al. 2018, arXiv 1809.04474.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import rlax

from agents.popart_impala import popart
from agents.popart_impala.config import Config

# Both rho_bar and c_bar in both papers; rlax fixes c_bar at 1.
RHO_BAR = 1.0

# Floor on the deviation that standardises a task's advantages, as a multiple of the deviation that
# they would have if all its values were 0.
LEAST_SPREAD = 0.4


class LossInput(NamedTuple):
    """A time-major batch, as the loss needs it."""

    logits: jax.Array  # float32 [T+1, B, num_actions], of the learner's policy
    normalised_values: jax.Array  # float32 [T+1, B, num_tasks], under the old statistics
    behaviour_logits: jax.Array  # float32 [T, B, num_actions]
    action: jax.Array  # int32 [T, B]
    reward: jax.Array  # float32 [T, B], unclipped
    discount: jax.Array  # float32 [T, B], the environment's; 0 where a time limit ended the episode
    first: jax.Array  # bool [T+1, B]
    task: jax.Array  # int32 [B]
    # float32 [T, B], V of the last observation where a time limit ended the episode, else 0
    truncation_value: jax.Array | None = None


class VTrace(NamedTuple):
    """V-trace of one sequence; both [T] and without gradient."""

    targets: jax.Array  # v_s, the value targets
    advantages: jax.Array  # r_{s+1} + gamma v_{s+1} - V(x_s), not weighted


def transform_reward(reward: jax.Array, clipping: str) -> jax.Array:
    """Reward as the loss sees it; any shape.

    "none": unchanged. "abs_one": clipped to [-1, 1]. "soft_asymmetric":
    0.3 min(tanh r, 0) + 5 max(tanh r, 0), as IMPALA on DeepMind Lab (arXiv 1802.01561, appendix D).
    """
    if clipping == "none":
        return reward
    if clipping == "abs_one":
        return jnp.clip(reward, -1.0, 1.0)
    if clipping == "soft_asymmetric":
        squashed = jnp.tanh(reward)
        return jnp.where(squashed < 0, 0.3 * squashed, 5.0 * squashed)
    raise ValueError(f"unknown reward clipping {clipping!r}")


def vtrace(
    values: jax.Array, reward: jax.Array, discount: jax.Array, rho: jax.Array, lambda_: float
) -> VTrace:
    """V-trace targets and advantages of one sequence (arXiv 1802.01561, section 4.1).

    Args:
      values: float32 [T+1], V(x_s), unnormalised; the last is the bootstrap value.
      reward: float32 [T], r_{s+1}.
      discount: float32 [T], gamma_{s+1}, 0 where the episode terminated.
      rho: float32 [T], importance ratio pi(a_s) / mu(a_s), not yet clipped. Where it is 0 the step
        is left out: its target is V(x_s), later steps do not affect earlier targets, and its
        advantage is meaningless.
      lambda_: in [0, 1], multiplies the weights c_s (remark 2 of the paper). With 1, a target looks
        ahead to the end of the unroll; with less, it relies more on nearby values: less variance,
        more bias.

    Returns:
      The targets and advantages, without gradient.
    """
    chex.assert_rank([values, reward, discount, rho], 1)
    output = rlax.vtrace_td_error_and_advantage(
        values[:-1],
        values[1:],
        reward,
        discount,
        rho,
        clip_rho_threshold=RHO_BAR,
        lambda_=lambda_,
    )
    return jax.lax.stop_gradient(
        VTrace(output.errors + values[:-1], output.q_estimate - values[:-1])
    )


def standardise(
    advantages: jax.Array,
    weights: jax.Array,
    tasks: jax.Array,
    state: popart.PopArtState,
    least: jax.Array,
) -> jax.Array:
    """Standardises advantages to about mean 0 and standard deviation 1 within each task.

    Mean and variance are averages of the minibatch's, weighted with the task's n unrolls in it, and
    the running ones, which count as one unroll. A minibatch of eight unrolls of one game knows them
    well. One of eight games has a single unroll of each, whose own mean would take away most of
    what tells a good unroll from a bad one, and whose own deviation would scale up unrolls in which
    nothing happens. The running deviation alone would let the first rare rewards outweigh all else.

    Args:
      advantages: float32 [T, B], in points.
      weights: float32 [T, B], 1 for a step that counts, 0 for one that does not.
      tasks: int32 [B], the task of each sequence.
      state: statistics that these advantages are part of.
      least: float32 [num_tasks], above 0 or infinite, in points. Smaller deviations are not scaled
        up to 1: in a task that has hardly paid yet, that would make noise as loud as a signal.

    Returns:
      float32 [T, B]; 0 where the weight is 0 or `least` is infinite.
    """
    own_mean, steps = popart.task_means(advantages, weights, tasks, len(least))
    unrolls = steps / len(advantages)
    own = unrolls / (unrolls + 1.0)
    mean = own * own_mean + (1.0 - own) * state.advantage_mean
    centred = weights * (advantages - mean[tasks][None])
    square, _ = popart.task_means(centred**2, weights, tasks, len(least))
    deviation = jnp.sqrt(own * square + (1.0 - own) * state.advantage_variance)
    return centred / jnp.maximum(deviation, least)[tasks][None]


def reward_spread(reward_square: jax.Array, length: int, config: Config) -> jax.Array:
    """Returns the deviation that each task's advantages would have if all its values were 0.

    With values of 0 and ratios of 1 an advantage is sum_k (gamma lambda)^k r_{t+k}. Its variance is
    sum_k (gamma lambda)^{2k} E[r^2] if rewards are independent and have mean 0.

    Args:
      reward_square: float32 [num_tasks], mean squares of rewards.
      length: T, the unroll length.
      config: the agent's settings.

    Returns:
      float32 [num_tasks], in points; 0 for a task that has not paid yet.
    """
    decay = (config.discounting * config.vtrace_lambda) ** 2
    return jnp.sqrt(reward_square * sum(decay**k for k in range(length)))


def bound_truncation_values(
    batch: LossInput, state: popart.PopArtState, config: Config
) -> LossInput:
    """Clips each truncation value to the range of its task's values in the batch.

    An observation at which a time limit always ends the episode is never trained on: its value is
    what the network generalises from similar ones. If observations reveal the time, the network
    extrapolates a value that grows towards the limit, and bootstrapping from more than all known
    values diverges. Within their range, values stay below those of rewards that continue for ever.

    Args:
      batch: the batch.
      state: statistics that `batch.normalised_values` are normalised with.
      config: the agent's settings.

    Returns:
      The batch with `truncation_value` clipped, or unchanged if it has none.
    """
    if batch.truncation_value is None:
        return batch
    scale = popart.configured_scale(state, config)
    values = _of_own_task(batch) * scale.sigma[batch.task][None] + scale.mu[batch.task][None]
    values = jax.lax.stop_gradient(values)
    own = batch.task[:, None] == batch.task[None, :]  # [B, B]
    least = jnp.min(jnp.where(own, jnp.min(values, axis=0)[None], jnp.inf), axis=1)
    most = jnp.max(jnp.where(own, jnp.max(values, axis=0)[None], -jnp.inf), axis=1)
    bounded = jnp.clip(batch.truncation_value, least[None], most[None])
    return batch._replace(truncation_value=jnp.where(batch.truncation_value == 0, 0.0, bounded))


def _of_own_task(batch: LossInput) -> jax.Array:
    """Selects the normalised values of each sequence's own task, float32 [T+1, B]."""
    return jnp.take_along_axis(batch.normalised_values, batch.task[None, :, None], axis=2).squeeze(
        2
    )


def popart_vtrace_loss(
    batch: LossInput, state: popart.PopArtState, config: Config
) -> tuple[jax.Array, tuple[popart.PopArtState, dict[str, jax.Array]]]:
    """Computes the loss of a batch and the PopArt statistics after it.

    Follows PopArt's order: V-trace targets under the old statistics, one update of the statistics
    from them, values renormalised to the new statistics, and the loss on those. Advantages are
    divided by the new sigma or, if so configured, standardised; the value loss is on normalised
    targets. No gradient flows into statistics, targets or advantages.

    The floor on the deviation that standardises advantages is `LEAST_SPREAD` times `reward_spread`,
    so it comes from rewards, not from values. In a task that is played well, values vary much more
    than advantages, most of all if rare episodes earn a hundred times as much as others: divided by
    such a spread, all other advantages lose to the entropy bonus (docs/experiments.md). A task that
    has not paid yet offers only noise to learn from: its advantages are 0.

    loss = sum or mean over T and B of  - gain
                                        + baseline_cost 1/2 (target - n)^2
                                        - entropy_cost entropy(pi)

    With `ratio_clip` c, gain = min(rho advantage, clip(rho, 1 - c, 1 + c) advantage): PPO's (arXiv
    1707.06347, equation 7), with the behaviour policy as the one to stay near. Without it, gain =
    min(rho_bar, rho) advantage log pi(a), with no gradient through rho: IMPALA's. That bounds how
    much a step weighs but not how far the policy moves, so several passes over a batch keep
    pushing up an action that was good once, without limit.

    Where a time limit ended an episode, the value of its last observation is added to the reward:
    the step counts as a termination with reward r + gamma V, and reward clipping applies to r only.

    A step that was cut off without a known successor (first[t+1] with a discount above 0) is left
    out of every term of the loss, of the statistics, and of the step count that a mean divides by.

    Args:
      batch: the batch.
      state: statistics that `batch.normalised_values` are normalised with.
      config: the agent's settings; with `popart=False` mean and variance stay as they are.

    Returns:
      The scalar loss, and (the new statistics, metrics as scalars or one value per task).
    """
    chex.assert_rank(batch.action, 2)
    length, batch_size = batch.action.shape
    num_actions = batch.behaviour_logits.shape[-1]
    truncation_value = batch.truncation_value
    if truncation_value is None:
        truncation_value = jnp.zeros_like(batch.reward)
    chex.assert_shape([batch.reward, batch.discount, truncation_value], (length, batch_size))
    chex.assert_shape(batch.first, (length + 1, batch_size))
    chex.assert_shape(batch.task, (batch_size,))
    chex.assert_shape(batch.behaviour_logits, (length, batch_size, num_actions))
    chex.assert_shape(batch.logits, (length + 1, batch_size, num_actions))
    chex.assert_shape(batch.normalised_values, (length + 1, batch_size, *state.mean.shape))

    old = popart.configured_scale(state, config)
    own_old = popart.Scale(old.mu[batch.task], old.sigma[batch.task])  # [B]
    normalised = _of_own_task(batch)  # [T+1, B]
    values = jax.lax.stop_gradient(normalised) * own_old.sigma[None] + own_old.mu[None]

    log_pi = jax.nn.log_softmax(batch.logits[:-1])
    log_mu = jax.lax.stop_gradient(jax.nn.log_softmax(batch.behaviour_logits))
    action = batch.action[..., None]
    log_pi_action = jnp.take_along_axis(log_pi, action, axis=2).squeeze(2)  # [T, B]
    log_mu_action = jnp.take_along_axis(log_mu, action, axis=2).squeeze(2)
    rho = jnp.exp(jax.lax.stop_gradient(log_pi_action) - log_mu_action)

    known = 1.0 - (batch.first[1:] & (batch.discount > 0)).astype(jnp.float32)
    reward = jax.lax.stop_gradient(transform_reward(batch.reward, config.reward_clipping))
    targets, advantages = jax.vmap(vtrace, in_axes=(1, 1, 1, 1, None), out_axes=1)(
        values,
        reward + config.discounting * truncation_value,
        batch.discount * config.discounting,
        jnp.where(known > 0, rho, 0.0),  # not a product: the ratio may have overflowed
        config.vtrace_lambda,
    )

    step_size = popart.step_sizes(state, config.popart_step_size)
    new_state = popart.update_statistics(state, targets, reward, known, batch.task, step_size)
    if not config.popart:
        new_state = new_state._replace(mean=state.mean, variance=state.variance)
    new = popart.configured_scale(new_state, config)
    own_new = popart.Scale(new.mu[batch.task], new.sigma[batch.task])
    renormalised = popart.renormalise(
        normalised[:-1],
        popart.Scale(own_old.mu[None], own_old.sigma[None]),
        popart.Scale(own_new.mu[None], own_new.sigma[None]),
    )
    errors = known * ((targets - own_new.mu[None]) / own_new.sigma[None] - renormalised)

    # Every term is 0 at a step that is left out.
    count = jnp.maximum(jnp.sum(known), 1.0)
    divisor = 1.0 if config.loss_reduction == "sum" else count

    def reduce(terms: jax.Array) -> jax.Array:
        return jnp.sum(terms) / divisor

    entropy = known * -jnp.sum(jnp.exp(log_pi) * log_pi, axis=2)  # [T, B]
    advantages = jnp.where(known > 0, advantages, 0.0)
    if config.standardise_advantages:
        new_state = popart.update_advantages(new_state, advantages, known, batch.task)
        spread = reward_spread(new_state.reward_square, length, config)
        least = jnp.where(spread > 0, LEAST_SPREAD * spread, jnp.inf)
        advantages = standardise(advantages, known, batch.task, new_state, least)
    else:
        advantages = advantages / own_new.sigma[None]
    if config.ratio_clip is None:
        gain = jnp.minimum(rho, RHO_BAR) * advantages * log_pi_action
    else:
        # Set to 1 at steps that do not count, where it may have overflowed.
        ratio = jnp.exp(jnp.where(known > 0, log_pi_action - log_mu_action, 0.0))
        bounded = jnp.clip(ratio, 1.0 - config.ratio_clip, 1.0 + config.ratio_clip)
        gain = jnp.minimum(ratio * advantages, bounded * advantages)
    policy_gradient_loss = -reduce(gain)
    baseline_loss = config.baseline_cost * reduce(0.5 * errors**2)
    entropy_loss = -config.entropy_cost * reduce(entropy)
    loss = policy_gradient_loss + baseline_loss + entropy_loss
    metrics = {
        "loss": loss,
        "policy_gradient_loss": policy_gradient_loss,
        "baseline_loss": baseline_loss,
        "entropy_loss": entropy_loss,
        "entropy": jnp.sum(entropy) / count,  # nats
        "rho_mean": jnp.mean(rho),
        "rho_clipped_fraction": jnp.mean((rho > RHO_BAR).astype(jnp.float32)),
        "mu": new.mu,  # [num_tasks]
        "sigma": new.sigma,  # [num_tasks]
    }
    return loss, (new_state, metrics)
