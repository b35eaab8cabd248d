"""A second version of the agent's mathematics, in float64 NumPy, written from the papers alone.

It shares no code with `agents`. It is slow on purpose: loops follow the indices of the equations,
so that a reader can check a line against a paper. Time indices are those of
`agents.popart_impala.types`: `reward[t]` and `discount[t]` follow `action[t]`.

  V-trace   Espeholt et al. 2018, arXiv 1802.01561, equation 1, section 4.2 and remark 2
  clip      Schulman et al. 2017, arXiv 1707.06347, equation 7
  PopArt    van Hasselt et al. 2016, arXiv 1602.07714;
            per task: Hessel et al. 2018, arXiv 1809.04474

Let f be the loss of one batch, and take everything in `Constants` as constant. For one step, with
logits l, pi = softmax(l), and the scaled advantage A:

  policy gradient   f = -w A log pi(a)          df/dl_k = -w A ([k = a] - pi_k)
                    w = min(1, pi(a) / mu(a)), a constant; d log pi_a / dl_k = [k = a] - pi_k.
  the same, clipped f = -min(r A, clip(r) A)    df/dl_k = -r A ([k = a] - pi_k)
                    r = pi(a) / mu(a), which is not a constant: dr/dl_k = r ([k = a] - pi_k).
                    0 where r is beyond the clip on the side that A pushes it to.
  entropy           f = -e H,                   df/dl_k = e pi_k (log pi_k + H)
                    H = -sum_j pi_j log pi_j, dpi_j/dl_k = pi_j ([j = k] - pi_k), so
                    dH/dl_k = -sum_j (log pi_j + 1) dpi_j/dl_k = -pi_k (log pi_k + H).
  value             f = c/2 (y - n')^2,         df/dn = -c (y - n') sigma / sigma'
                    y = (v - mu') / sigma',
                    n' = (sigma n + mu - mu') / sigma', dn'/dn = sigma / sigma'.

The derivative is 0 for other tasks' values, the last entry in time and steps that do not count. The
reduction "mean" divides everything by the number of steps that count.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from agents.popart_impala.config import Config

Array = np.ndarray


class Batch(NamedTuple):
    """The loss's input; float64 unless noted."""

    logits: Array  # [T+1, B, A]
    normalised_values: Array  # [T+1, B, N]
    behaviour_logits: Array  # [T, B, A]
    action: Array  # int [T, B]
    reward: Array  # [T, B], raw
    discount: Array  # [T, B], 0 or 1
    truncation_value: Array  # [T, B], not 0 where a time limit ended the episode
    first: Array  # bool [T+1, B]
    task: Array  # int [B]


class Statistics(NamedTuple):
    """PopArt's moments as in the paper, and those that advantages are standardised by."""

    mean: Array  # [N], mu
    second_moment: Array  # [N], nu
    reward_square: Array  # [N], mean square of rewards over `updates` updates
    advantage_mean: Array  # [N]
    advantage_square: Array  # [N], mean square of advantages
    updates: Array  # [N]


class VTrace(NamedTuple):
    """V-trace of one sequence."""

    targets: Array  # [T], v_s
    advantages: Array  # [T], not weighted by rho_s


class Constants(NamedTuple):
    """Quantities of a batch that no gradient flows into."""

    targets: Array  # [T, B], unnormalised v_s
    advantages: Array  # [T, B], scaled
    ratios: Array  # [T, B], pi(a) / mu(a)
    counts: Array  # bool [T, B], false for a step that was cut off and has no known successor
    mu: Array  # [N], before the batch's update
    sigma: Array  # [N]
    new_mu: Array  # [N], after it
    new_sigma: Array  # [N]
    new_statistics: Statistics


def log_softmax(logits: Array) -> Array:
    """Log probabilities [..., A] of logits [..., A]."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def transform_reward(reward: float, clipping: str) -> float:
    """One reward as the learner sees it; figure D.1 of the IMPALA paper."""
    if clipping == "none":
        return reward
    if clipping == "abs_one":
        return max(-1.0, min(1.0, reward))
    if clipping == "soft_asymmetric":
        squashed = np.tanh(reward)
        return 0.3 * min(squashed, 0.0) + 5.0 * max(squashed, 0.0)
    raise ValueError(clipping)


def vtrace(
    values: Array,
    reward: Array,
    discount: Array,
    ratio: Array,
    counts: Array | None = None,
    truncated: dict[int, float] | None = None,
    lambda_: float = 1.0,
) -> VTrace:
    """V-trace targets and advantages of one sequence, as a double sum, with rho_bar = c_bar = 1.

      v_s = V(x_s) + sum_{t=s}^{T-1} (prod_{i=s}^{t-1} gamma_i c_i) delta_t
      delta_t = rho_t (r_t + gamma_t V(x_{t+1}) - V(x_t)),  c_i = lambda min(1, ratio_i)
      advantage_s = r_s + gamma_s (lambda v_{s+1} + (1 - lambda) V(x_{s+1})) - V(x_s),
                    where v_T = V(x_T)

    Args:
      values: [T+1] V(x_t).
      reward: [T].
      discount: [T], gamma or 0.
      ratio: [T], pi(a) / mu(a), not clipped.
      counts: bool [T], false where the successor is unknown. There v_s = V(x_s), which ends the
        sums of earlier steps, and the advantage is 0.
      truncated: V(x_{t+1}), in place of `values[t+1]`, for each step t whose successor is the last
        state of an episode that a time limit ended. No action was taken there, so
        v_{t+1} = V(x_{t+1}), which ends the sums.
    """
    length = len(reward)
    truncated = truncated or {}
    counts = np.ones(length, bool) if counts is None else counts
    rho = np.minimum(1.0, ratio)
    trace = lambda_ * np.minimum(1.0, ratio)
    targets = np.array(values, np.float64)
    for s in range(length):
        for t in range(s, length):
            if not counts[t]:
                break
            weight = 1.0
            for i in range(s, t):
                weight *= discount[i] * trace[i]
            successor = truncated.get(t, values[t + 1])
            delta = rho[t] * (reward[t] + discount[t] * successor - values[t])
            targets[s] += weight * delta
            if t in truncated:
                break
    advantages = np.zeros(length)
    for s in range(length):
        if counts[s]:
            mixed = lambda_ * targets[s + 1] + (1 - lambda_) * values[s + 1]
            successor = truncated.get(s, mixed)
            advantages[s] = reward[s] + discount[s] * successor - values[s]
    return VTrace(targets[:-1], advantages)


def importance_ratios(batch: Batch) -> Array:
    """pi(a) / mu(a), [T, B], not clipped."""
    log_pi = log_softmax(batch.logits[:-1])
    log_mu = log_softmax(batch.behaviour_logits)
    ratios = np.zeros(batch.action.shape)
    for t, b in np.ndindex(ratios.shape):
        taken = batch.action[t, b]
        ratios[t, b] = np.exp(log_pi[t, b, taken] - log_mu[t, b, taken])
    return ratios


def update_statistics(
    statistics: Statistics,
    targets: Array,
    rewards: Array,
    weights: Array,
    task: Array,
    step_size: float,
) -> Statistics:
    """One step of the moving averages per task.

    mu += b (E[v] - mu), nu += b (E[v^2] - nu). The mean square of rewards averages all batches.

    Args:
      statistics: [N].
      targets: [T, B] unnormalised v_s.
      rewards: [T, B].
      weights: [T, B] 1 for steps that count, 0 for the others.
      task: int [B].
      step_size: b.
    """
    new = Statistics(*(np.array(x, np.float64) for x in statistics))
    for index in range(len(new.mean)):
        counts = weights[:, task == index] > 0
        counting = targets[:, task == index][counts]
        if counting.size:
            new.mean[index] += step_size * (np.mean(counting) - new.mean[index])
            new.second_moment[index] += step_size * (
                np.mean(counting**2) - new.second_moment[index]
            )
            total = new.reward_square[index] * new.updates[index]
            new.updates[index] += 1
            square = np.mean(rewards[:, task == index][counts] ** 2)
            new.reward_square[index] = (total + square) / new.updates[index]
    return new


def update_advantages(
    statistics: Statistics, advantages: Array, weights: Array, task: Array
) -> Statistics:
    """One step of the advantages' moving averages per task.

    Args:
      statistics: [N], whose `updates` count this batch.
      advantages: [T, B].
      weights: [T, B] 1 for steps that count, 0 for the others.
      task: int [B].
    """
    new = Statistics(*(np.array(x, np.float64) for x in statistics))
    for index in range(len(new.mean)):
        own = advantages[:, task == index][weights[:, task == index] > 0]
        if own.size:
            step = max(0.01, 1.0 / new.updates[index])
            new.advantage_mean[index] += step * (np.mean(own) - new.advantage_mean[index])
            new.advantage_square[index] += step * (np.mean(own**2) - new.advantage_square[index])
    return new


def scale(statistics: Statistics, minimum: float, maximum: float) -> tuple[Array, Array]:
    """(mu [N], sigma [N]) with sigma = sqrt(nu - mu^2) kept in [minimum, maximum]."""
    variance = statistics.second_moment - statistics.mean**2
    sigma = np.sqrt(np.maximum(variance, 0.0))
    return statistics.mean, np.clip(sigma, minimum, maximum)


def constants(batch: Batch, statistics: Statistics, config: Config) -> Constants:
    """Targets, advantages and statistics of a batch."""
    length, batch_size = batch.action.shape
    mu, sigma = scale(statistics, config.popart_scale_min, config.popart_scale_max)
    targets = np.zeros((length, batch_size))
    advantages = np.zeros((length, batch_size))
    counts = ~(batch.first[1:] & (batch.discount == 1.0))
    rewards = np.zeros((length, batch_size))
    ratios = importance_ratios(batch)
    for b in range(batch_size):
        k = batch.task[b]
        values = sigma[k] * batch.normalised_values[:, b, k] + mu[k]
        rewards[:, b] = [transform_reward(r, config.reward_clipping) for r in batch.reward[:, b]]
        at_limit = np.flatnonzero(batch.truncation_value[:, b])
        truncated = {int(t): float(batch.truncation_value[t, b]) for t in at_limit}
        discount = config.discounting * batch.discount[:, b]
        discount[at_limit] = config.discounting
        targets[:, b], advantages[:, b] = vtrace(
            values,
            rewards[:, b],
            discount,
            ratios[:, b],
            counts[:, b],
            truncated,
            config.vtrace_lambda,
        )
    new = update_statistics(
        statistics, targets, rewards, counts, batch.task, config.popart_step_size
    )
    if not config.popart:
        new = new._replace(mean=statistics.mean, second_moment=statistics.second_moment)
    if config.standardise_advantages:
        new = update_advantages(new, advantages, counts, batch.task)
    new_mu, new_sigma = scale(new, config.popart_scale_min, config.popart_scale_max)
    scaled = scale_advantages(advantages, counts, batch.task, new_sigma, new, config)
    return Constants(targets, scaled, ratios, counts, mu, sigma, new_mu, new_sigma, new)


def scale_advantages(
    advantages: Array,
    counts: Array,
    task: Array,
    sigma: Array,
    statistics: Statistics,
    config: Config,
) -> Array:
    """Scales to units of each task's sigma or, if so configured, to about mean 0 and deviation 1.

    Mean and variance are then those of the batch, with weight n / (n + 1) if n unrolls are of the
    task (steps that do not count make a part of one), and the running ones. The divisor is at least
    0.4 times the root mean square of sum_k (gamma lambda)^k r_{t+k}, as if rewards were independent
    and had mean 0. Without any reward the advantages are 0.
    """
    if not config.standardise_advantages:
        return advantages / sigma[task][None]
    scaled = advantages.copy()
    for k in set(task.tolist()):
        own = counts & (task == k)[None]
        if own.any():
            decay = (config.discounting * config.vtrace_lambda) ** (2 * np.arange(len(advantages)))
            least = 0.4 * np.sqrt(statistics.reward_square[k] * np.sum(decay))
            unrolls = own.sum() / len(advantages)
            moments = [np.mean(advantages[own]), statistics.advantage_mean[k]]
            mean = np.average(moments, weights=[unrolls, 1.0])
            running = statistics.advantage_square[k] - statistics.advantage_mean[k] ** 2
            here = np.mean((advantages[own] - mean) ** 2)
            divisor = max(least, np.sqrt(np.average([here, running], weights=[unrolls, 1.0])))
            scaled[own] = (advantages[own] - mean) / divisor if least > 0 else 0.0
    return scaled


def _reduction(fixed: Constants, config: Config) -> float:
    """Returns the factor on every step's loss."""
    return 1.0 if config.loss_reduction == "sum" else 1.0 / np.sum(fixed.counts)


def losses(batch: Batch, fixed: Constants, config: Config) -> dict[str, float]:
    """The loss, its three parts, and the mean entropy, given `fixed`."""
    length, batch_size = batch.action.shape
    policy_gradient = value = entropy = 0.0
    for t in range(length):
        for b in range(batch_size):
            k = batch.task[b]
            if not fixed.counts[t, b]:
                continue
            log_pi = log_softmax(batch.logits[t, b])
            entropy -= np.sum(np.exp(log_pi) * log_pi)
            taken, advantage = batch.action[t, b], fixed.advantages[t, b]
            if config.ratio_clip is None:
                policy_gradient -= min(1.0, fixed.ratios[t, b]) * advantage * log_pi[taken]
            else:
                log_mu = log_softmax(batch.behaviour_logits[t, b])
                ratio = np.exp(log_pi[taken] - log_mu[taken])
                bounded = np.clip(ratio, 1 - config.ratio_clip, 1 + config.ratio_clip)
                policy_gradient -= min(ratio * advantage, bounded * advantage)
            unnormalised = fixed.sigma[k] * batch.normalised_values[t, b, k] + fixed.mu[k]
            normalised = (unnormalised - fixed.new_mu[k]) / fixed.new_sigma[k]
            target = (fixed.targets[t, b] - fixed.new_mu[k]) / fixed.new_sigma[k]
            value += 0.5 * (target - normalised) ** 2
    reduction = _reduction(fixed, config)
    parts = {
        "policy_gradient_loss": reduction * policy_gradient,
        "baseline_loss": config.baseline_cost * reduction * value,
        "entropy_loss": -config.entropy_cost * reduction * entropy,
    }
    return {"loss": sum(parts.values()), "entropy": entropy / np.sum(fixed.counts), **parts}


def gradients(batch: Batch, fixed: Constants, config: Config) -> tuple[Array, Array]:
    """d loss / d logits [T+1, B, A] and d loss / d normalised_values [T+1, B, N].

    The derivation is at the top of this file.
    """
    length, batch_size = batch.action.shape
    by_logits = np.zeros_like(batch.logits)
    by_values = np.zeros_like(batch.normalised_values)
    for t in range(length):
        for b in range(batch_size):
            if not fixed.counts[t, b]:
                continue
            k = batch.task[b]
            log_pi = log_softmax(batch.logits[t, b])
            pi = np.exp(log_pi)
            entropy = -np.sum(pi * log_pi)
            by_logits[t, b] += config.entropy_cost * pi * (log_pi + entropy)
            taken = np.eye(len(pi))[batch.action[t, b]]
            advantage, ratio = fixed.advantages[t, b], fixed.ratios[t, b]
            if config.ratio_clip is None:
                weight = min(1.0, ratio)
            else:
                too_far = (
                    ratio > 1 + config.ratio_clip
                    if advantage > 0
                    else (ratio < 1 - config.ratio_clip)
                )
                weight = 0.0 if too_far else ratio
            by_logits[t, b] -= weight * advantage * (taken - pi)
            ratio = fixed.sigma[k] / fixed.new_sigma[k]
            shift = (fixed.mu[k] - fixed.new_mu[k]) / fixed.new_sigma[k]
            target = (fixed.targets[t, b] - fixed.new_mu[k]) / fixed.new_sigma[k]
            error = target - (ratio * batch.normalised_values[t, b, k] + shift)
            by_values[t, b, k] = -config.baseline_cost * error * ratio
    reduction = _reduction(fixed, config)
    return reduction * by_logits, reduction * by_values


def finite_differences(function: Callable[[Array], float], point: Array, step: float) -> Array:
    """Gradient of `function` at `point` by central differences, one entry at a time."""
    gradient = np.zeros_like(point)
    for index in np.ndindex(point.shape):
        above, below = point.copy(), point.copy()
        above[index] += step
        below[index] -= step
        gradient[index] = (function(above) - function(below)) / (2 * step)
    return gradient
