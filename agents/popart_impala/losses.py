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

# The clips rho_bar and c_bar of both papers; rlax fixes the second at 1.
RHO_BAR = 1.0


class LossInput(NamedTuple):
    """A batch, time-major, as the loss needs it."""

    logits: jax.Array  # float32 [T+1, B, num_actions], of the learner's policy
    normalised_values: jax.Array  # float32 [T+1, B, num_tasks], under the old statistics
    behaviour_logits: jax.Array  # float32 [T, B, num_actions]
    action: jax.Array  # int32 [T, B]
    reward: jax.Array  # float32 [T, B], unclipped
    discount: jax.Array  # float32 [T, B], the environment's
    first: jax.Array  # bool [T+1, B]
    task: jax.Array  # int32 [B]


class Targets(NamedTuple):
    """What a batch's value and policy are moved towards; float32 [T, B], without gradient."""

    values: jax.Array  # V-trace's v_s, unnormalised
    advantages: jax.Array  # min(rho_bar, rho_s) (r_s + gamma v_{s+1} - V(x_s)), scaled
    log_pi: jax.Array  # log pi(a_s) of the policy that the targets were computed with
    counts: jax.Array  # 1, or 0 for a step whose successor is not known


class VTrace(NamedTuple):
    """V-trace of one sequence; both [T] and without gradient."""

    targets: jax.Array  # v_s, the value targets
    advantages: jax.Array  # r_s + gamma v_{s+1} - V(x_s), times min(1, rho_s): policy gradient


def transform_reward(reward: jax.Array, clipping: str) -> jax.Array:
    """Reward as the loss sees it; any shape.

    "none": unchanged. "abs_one": clipped to [-1, 1]. "soft_asymmetric":
    0.3 min(tanh r, 0) + 5 max(tanh r, 0), IMPALA's for DeepMind Lab (arXiv 1802.01561, appendix D).
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
        is left out: its target is V(x_s), its advantage 0, and nothing later reaches the steps
        before it.
      lambda_: in [0, 1], multiplies the weights c_s (remark 2 there). With 1 a target looks ahead
        to the end of the unroll, with less it trusts nearer values: less variance, more bias.

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
        clip_pg_rho_threshold=RHO_BAR,
        lambda_=lambda_,
    )
    return jax.lax.stop_gradient(VTrace(output.errors + values[:-1], output.pg_advantage))


def make_targets(
    batch: LossInput, state: popart.PopArtState, config: Config
) -> tuple[Targets, popart.PopArtState, dict[str, jax.Array]]:
    """V-trace's targets of a batch, and the PopArt statistics that take them in.

    Args:
      batch: the batch; no gradient flows into its logits and values.
      state: statistics that `batch.normalised_values` are normalised with.
      config: the agent's settings; with `popart=False` mean and scale stay as they are.

    Returns:
      (the targets, the new statistics, metrics as scalars or one value per task).
    """
    chex.assert_rank(batch.action, 2)
    length, batch_size = batch.action.shape
    num_actions = batch.behaviour_logits.shape[-1]
    chex.assert_shape([batch.reward, batch.discount], (length, batch_size))
    chex.assert_shape(batch.first, (length + 1, batch_size))
    chex.assert_shape(batch.task, (batch_size,))
    chex.assert_shape(batch.behaviour_logits, (length, batch_size, num_actions))
    chex.assert_shape(batch.logits, (length + 1, batch_size, num_actions))
    chex.assert_shape(batch.normalised_values, (length + 1, batch_size, *state.mean.shape))

    old = popart.scale_of(state, config.popart_scale_min, config.popart_scale_max)
    own = popart.Scale(old.mu[batch.task], old.sigma[batch.task])  # [B]
    normalised = own_values(jax.lax.stop_gradient(batch.normalised_values), batch.task)
    log_pi = log_probability(jax.lax.stop_gradient(batch.logits[:-1]), batch.action)
    rho = jnp.exp(log_pi - log_probability(batch.behaviour_logits, batch.action))

    counts = 1.0 - (batch.first[1:] & (batch.discount > 0)).astype(jnp.float32)
    values, advantages = jax.vmap(vtrace, in_axes=(1, 1, 1, 1, None), out_axes=1)(
        normalised * own.sigma[None] + own.mu[None],
        transform_reward(batch.reward, config.reward_clipping),
        batch.discount * config.discounting,
        jnp.where(counts > 0, rho, 0.0),  # not a product: the ratio may have overflowed
        config.vtrace_lambda,
    )

    new_state = state
    if config.popart:
        step_size = popart.step_sizes(state, config.popart_step_size)
        new_state = popart.update_statistics(state, values, counts, batch.task, step_size)
    new = popart.scale_of(new_state, config.popart_scale_min, config.popart_scale_max)
    if config.standardise_advantages:
        new_state = popart.update_spread(new_state, advantages, counts, batch.task)
        divisor = jnp.maximum(popart.spread_of(new_state), config.advantage_floor * new.sigma)
    else:
        divisor = new.sigma
    targets = Targets(values, advantages / divisor[batch.task][None], log_pi, counts)
    metrics = {
        "rho_mean": jnp.mean(rho),
        "rho_clipped_fraction": jnp.mean((rho > RHO_BAR).astype(jnp.float32)),
        "mu": new.mu,  # [num_tasks]
        "sigma": new.sigma,  # [num_tasks]
    }
    return targets, new_state, metrics


def actor_critic_loss(
    logits: jax.Array,
    normalised_values: jax.Array,
    action: jax.Array,
    targets: Targets,
    scale: popart.Scale,
    config: Config,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss towards given targets.

    loss = sum or mean over T and B of
        - min(ratio advantage, clip(ratio, 1 - c, 1 + c) advantage)     policy gradient
        + baseline_cost 1/2 ((target - mu) / sigma - n)^2               value
        - entropy_cost entropy(pi)

    where ratio = pi(a) / pi_targets(a) is 1 in value when the parameters are those that the targets
    were computed with; the first term's gradient is then that of -advantage log pi(a), IMPALA's.
    Later it is PPO's (arXiv 1707.06347, equation 7), with the policy before the batch, not the one
    that acted, as the one to stay near: that is PPO's decoupled objective (arXiv 2110.00641).

    Args:
      logits: float32 [T, B, num_actions].
      normalised_values: float32 [T, B], of each sequence's own task, under `scale`.
      action: int32 [T, B].
      targets: [T, B].
      scale: of each sequence's own task, [B].
      config: the agent's settings.

    Returns:
      The scalar loss, and metrics as scalars.
    """
    ratio = jnp.exp(log_probability(logits, action) - targets.log_pi)
    clip = config.ratio_clip
    bounded = ratio if clip is None else jnp.clip(ratio, 1.0 - clip, 1.0 + clip)
    gain = jnp.minimum(ratio * targets.advantages, bounded * targets.advantages)
    errors = (targets.values - scale.mu[None]) / scale.sigma[None] - normalised_values
    log_pi = jax.nn.log_softmax(logits)
    entropy = -jnp.sum(jnp.exp(log_pi) * log_pi, axis=2)  # [T, B]

    reduce = jnp.sum if config.loss_reduction == "sum" else jnp.mean
    policy_gradient_loss = reduce(-gain)
    baseline_loss = config.baseline_cost * reduce(0.5 * (targets.counts * errors) ** 2)
    entropy_loss = -config.entropy_cost * reduce(entropy)
    loss = policy_gradient_loss + baseline_loss + entropy_loss
    return loss, {
        "loss": loss,
        "policy_gradient_loss": policy_gradient_loss,
        "baseline_loss": baseline_loss,
        "entropy_loss": entropy_loss,
        "entropy": jnp.mean(entropy),  # nats
    }


def popart_vtrace_loss(
    batch: LossInput, state: popart.PopArtState, config: Config
) -> tuple[jax.Array, tuple[popart.PopArtState, dict[str, jax.Array]]]:
    """Loss of a batch that is used once, and the PopArt statistics after it.

    In PopArt's order: V-trace targets with the old statistics, one update of the statistics from
    them, values renormalised to the new statistics, and the loss on those.

    Args:
      batch: the batch.
      state: statistics that `batch.normalised_values` are normalised with.
      config: the agent's settings.

    Returns:
      The scalar loss, and (the new statistics, metrics as scalars or one value per task).
    """
    targets, new_state, metrics = make_targets(batch, state, config)
    old, new = (
        popart.scale_of(s, config.popart_scale_min, config.popart_scale_max)
        for s in (state, new_state)
    )
    own_new = popart.Scale(new.mu[batch.task], new.sigma[batch.task])
    renormalised = popart.renormalise(batch.normalised_values[:-1], old, new)
    values = own_values(renormalised, batch.task)
    loss, more = actor_critic_loss(
        batch.logits[:-1], values, batch.action, targets, own_new, config
    )
    return loss, (new_state, metrics | more)


def own_values(values: jax.Array, task: jax.Array) -> jax.Array:
    """Each sequence's values of its own task: [T, B, num_tasks] and task [B] -> [T, B]."""
    return jnp.take_along_axis(values, task[None, :, None], axis=2).squeeze(2)


def log_probability(logits: jax.Array, action: jax.Array) -> jax.Array:
    """Log-probability of actions: [T, B, num_actions] and int32 [T, B] -> [T, B]."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), action[..., None], axis=2).squeeze(2)
