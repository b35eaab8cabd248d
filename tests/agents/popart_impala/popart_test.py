"""PopArt: statistics against the float64 oracle, outputs preserved to float32 rounding."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.popart_impala import popart
from agents.popart_impala.config import Config
from tests.agents.popart_impala import oracle
from tests.agents.popart_impala.statistics import settled

Array = np.ndarray

UNIT = 2.0**-24  # the largest relative error of one rounding to float32
CONFIG = Config(popart_scale_min=1e-4, popart_scale_max=1e6)


@jax.jit
def update_statistics(
    state: popart.PopArtState,
    targets: Any,
    weights: Any,
    tasks: Any,
    step_size: Any,
    rewards: Any = None,
) -> popart.PopArtState:
    """Uses one step size for all tasks, and targets as advantages and, by default, as rewards."""
    steps = jnp.full(state.mean.shape, step_size)
    rewards = targets if rewards is None else rewards
    state = popart.update_statistics(state, targets, rewards, weights, tasks, steps)
    return popart.update_advantages(state, targets, weights, tasks)


def scale_of(state: popart.PopArtState) -> popart.Scale:
    return popart.configured_scale(state, CONFIG)


def exact(array: Any) -> Array:
    return np.asarray(array, np.float64)


# Statistics.


def test_initial_state_is_the_identity() -> None:
    scale = scale_of(popart.initial_state(3))
    np.testing.assert_array_equal(scale.mu, np.zeros(3))
    np.testing.assert_array_equal(scale.sigma, np.ones(3))


def test_update_by_hand() -> None:
    # Targets 1, 3 (and 100, which does not count) of task 1, step size 1/4, mu = 10, variance 4:
    #   E[v] = 2,  E[v^2] = 5,  nu = 10^2 + 4 = 104
    #   mu' = 3/4 10 + 1/4 2 = 8,  nu' = 3/4 104 + 1/4 5 = 79.25,  variance' = 79.25 - 64 = 15.25
    # Rewards -2, 4: E[r^2] = 10, after three updates with mean 2: q' = (3 x 2 + 10) / 4 = 4
    state = settled(jnp.array([7.0, 10.0]), jnp.array([2.0, 4.0]), jnp.array([5.0, 2.0]))
    state = state._replace(updates=jnp.array([9, 3]))
    targets = jnp.array([[1.0], [100.0], [3.0]])
    weights = jnp.array([[1.0], [0.0], [1.0]])
    rewards = jnp.array([[-2.0], [70.0], [4.0]])
    new = update_statistics(state, targets, weights, jnp.array([1]), 0.25, rewards)
    np.testing.assert_array_equal(new.mean, [7.0, 8.0])
    np.testing.assert_array_equal(new.variance, [2.0, 15.25])
    np.testing.assert_array_equal(new.reward_square, [5.0, 4.0])
    np.testing.assert_array_equal(new.updates, [9, 4])


@pytest.mark.parametrize("step_size", [0.03, 0.3, 1.0])
def test_updates_agree_with_the_second_moment_form(step_size: float) -> None:
    # Five tasks with targets from 1e-3 to 1e5; a task is absent from a fifth of the batches.
    rng = np.random.default_rng(0)
    magnitude = np.array([1e-3, 0.3, 10.0, 1e3, 1e5])
    centre = magnitude * np.array([2.0, -1.0, 0.0, 3.0, -2.0])
    num_tasks, length, batch_size = 5, 6, 12
    state = popart.initial_state(num_tasks)
    zeros = np.zeros(num_tasks)
    statistics = oracle.Statistics(zeros, np.ones(num_tasks), zeros, zeros, zeros, zeros)
    for _ in range(400):
        present = np.flatnonzero(rng.random(num_tasks) < 0.8)
        if not present.size:
            continue
        task = rng.choice(present, size=batch_size).astype(np.int32)
        targets = rng.normal(centre[task], magnitude[task], size=(length, batch_size))
        targets = targets.astype(np.float32)
        weights = (rng.random((length, batch_size)) < 0.7).astype(np.float32)
        before = statistics
        rewards = rng.normal(0.0, magnitude[task], size=targets.shape).astype(np.float32)
        state = update_statistics(state, targets, weights, task, step_size, rewards)
        statistics = oracle.update_statistics(
            statistics, exact(targets), exact(rewards), exact(weights), task, step_size
        )
        mean, second_moment, reward_square = statistics[:3]
        variance = second_moment - mean**2
        # Tens of roundings of the numbers involved.
        size = np.maximum(second_moment, before.second_moment)
        assert np.all(np.abs(exact(state.mean) - mean) <= 2e-6 * np.sqrt(size))
        assert np.all(np.abs(exact(state.variance) - variance) <= 2e-6 * size)
        np.testing.assert_allclose(state.reward_square, reward_square, rtol=1e-5)
    assert variance.max() / variance.min() > 1e12


def test_a_task_without_counting_targets_keeps_its_statistics_exactly() -> None:
    # Task 0 is absent, none of task 2's targets counts, task 1 changes.
    state = settled(
        mean=jnp.array([1 / 3, 1 / 3, -12345.678]), variance=jnp.array([1 / 7, 1 / 7, 3e9])
    )._replace(updates=jnp.array([8, 8, 8]))
    targets = jnp.arange(8.0).reshape(2, 4) / 3
    weights = jnp.array([[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    new = update_statistics(state, targets, weights, jnp.array([1, 2, 2, 1]), 0.1)
    for before, after in zip(state, new, strict=True):
        np.testing.assert_array_equal(after[jnp.array([0, 2])], before[jnp.array([0, 2])])
        assert after[1] != before[1]


def test_targets_that_do_not_count_are_ignored_exactly() -> None:
    rng = np.random.default_rng(1)
    targets = rng.normal(size=(7, 6)).astype(np.float32)
    weights = (rng.random((7, 6)) < 0.5).astype(np.float32)
    task = np.array([0, 1, 2, 0, 1, 2], np.int32)
    others = np.where(weights > 0, targets, 1e10).astype(np.float32)
    state = popart.initial_state(3)
    for before, after in zip(
        update_statistics(state, targets, weights, task, 0.5),
        update_statistics(state, others, weights, task, 0.5),
        strict=True,
    ):
        np.testing.assert_array_equal(before, after)


def test_a_large_mean_does_not_lose_the_variance() -> None:
    """Why the state holds the variance rather than the papers' second moment."""
    centre, step_size = 1e5, 0.1
    rng = np.random.default_rng(3)
    weights, task = np.ones((20, 32), np.float32), np.zeros(32, np.int32)
    start = settled(mean=jnp.array([centre + 3]), variance=jnp.array([9.0]))
    state = start
    statistics = oracle.Statistics(
        exact(start.mean),
        exact(start.mean) ** 2 + 9.0,
        exact(start.reward_square),
        exact(start.advantage_mean),
        exact(start.advantage_variance),
        exact(start.updates),
    )
    second_moment_form = [np.float32(centre + 3), np.float32((centre + 3) ** 2 + 9)]
    errors_of_second_moments = []
    # A mean near 1e5 is rounded to multiples of 2^-7. Each update adds at most half of that to the
    # mean's error and keeps 1 - b of the previous error, so it stays below 2^-8 / b.
    bound = 2.0**-8 / step_size
    for _ in range(200):
        targets = rng.normal(centre, 1.0, size=(20, 32)).astype(np.float32)
        state = update_statistics(state, targets, weights, task, step_size)
        statistics = oracle.update_statistics(
            statistics, exact(targets), exact(targets), weights, task, step_size
        )
        mu, sigma = oracle.scale(statistics, CONFIG.popart_scale_min, CONFIG.popart_scale_max)
        assert abs(float(state.mean[0]) - mu[0]) <= bound
        assert abs(float(scale_of(state).sigma[0]) / sigma[0] - 1) <= 0.01

        # The same in float32 with mu and nu; the batch's moments are exact up to rounding.
        for index, power in enumerate((1, 2)):
            moment = np.float32(np.mean(exact(targets) ** power))
            old = second_moment_form[index]
            second_moment_form[index] = old + np.float32(step_size) * (moment - old)
        variance = second_moment_form[1] - np.square(second_moment_form[0])
        assert variance.dtype == np.float32
        naive = np.sqrt(max(float(variance), CONFIG.popart_scale_min**2))
        errors_of_second_moments.append(abs(naive / sigma[0] - 1))
    assert np.median(errors_of_second_moments) > 0.5


def test_statistics_do_not_depend_on_the_precision_of_matrix_products() -> None:
    # JAX's default is 10 bits of mantissa on recent GPUs: a mean of 1e5 would be off by tens.
    text = update_statistics.lower(
        popart.initial_state(3), jnp.ones((4, 5)), jnp.ones((4, 5)), jnp.zeros(5, jnp.int32), 0.1
    ).as_text()
    assert "precision = [DEFAULT" not in text


def test_sigma_stays_in_its_bounds() -> None:
    variance = jnp.array([0.0, 1e-12, 0.25, 1e11, 1e20])
    scale = popart.scale_of(settled(jnp.zeros(5), variance), 1e-2, 1e5)
    expected = np.array([1e-2, 1e-2, 0.5, 1e5, 1e5], np.float32)
    np.testing.assert_array_equal(scale.sigma, expected)

    # With constant targets the variance goes to 0, but not below.
    state = settled(mean=jnp.array([0.1]), variance=jnp.array([1e-3]))
    targets, weights = jnp.full((3, 2), 0.1), jnp.ones((3, 2))
    for _ in range(300):
        state = update_statistics(state, targets, weights, jnp.zeros(2, jnp.int32), 0.3)
    assert 0 <= state.variance[0] < 1e-12
    assert scale_of(state).sigma[0] == np.float32(CONFIG.popart_scale_min)


@pytest.mark.parametrize(
    "targets, weights, tasks",
    [
        ((4,), (4,), (3,)),
        ((4, 3), (4,), (3,)),
        ((4, 3), (3, 4), (3,)),
        ((4, 3), (4, 3), (3, 1)),
        ((4, 3), (4, 3), (4,)),
    ],
)
def test_update_refuses_malformed_arrays(targets: Any, weights: Any, tasks: Any) -> None:
    with pytest.raises(AssertionError):
        popart.update_statistics(
            popart.initial_state(2),
            jnp.ones(targets),
            jnp.ones(targets),
            jnp.ones(weights),
            jnp.zeros(tasks, jnp.int32),
            jnp.full(2, 0.1),
        )


def test_first_steps_average_what_there_was() -> None:
    """The statistics average all batches so far, counting mean 0 and variance 1 as the first."""
    rng = np.random.default_rng(5)
    step_size, updates = 0.02, 80
    state = popart.initial_state(2)
    batches: list[Array] = []
    for update in range(updates):
        targets = jnp.asarray(rng.normal(3e3, 1e3, size=(4, 5)), jnp.float32)
        steps = popart.step_sizes(state, step_size)
        np.testing.assert_allclose(steps, [max(step_size, 1 / (update + 2)), 0.5], rtol=1e-6)
        state = popart.update_statistics(
            state, targets, targets, jnp.ones_like(targets), jnp.zeros(5, jnp.int32), steps
        )
        batches.append(exact(targets))
        if update < 1 / step_size - 2:
            moments = [
                [0.0] + [b.mean() for b in batches],
                [1.0] + [(b**2).mean() for b in batches],
            ]
            mean, second_moment = (np.mean(m) for m in moments)
            np.testing.assert_allclose(state.mean[0], mean, rtol=1e-5)
            np.testing.assert_allclose(state.variance[0], second_moment - mean**2, rtol=1e-4)
    # The mean square of rewards stays a plain average.
    square = np.mean([(b**2).mean() for b in batches])
    np.testing.assert_allclose(state.reward_square[0], square, rtol=1e-5)
    np.testing.assert_array_equal(state.updates, [updates, 0])
    # The other task had no targets.
    other = state.mean[1], state.variance[1], state.reward_square[1]
    assert tuple(float(x) for x in other) == (0, 1, 0)


def test_advantages_by_hand() -> None:
    # Task 1: 1, 5 (and 100, which does not count), mean 3, variance 4.
    # At its first update they are its moments. At its second, with -1 and 1, mean 0 and variance 1,
    # each batch counts half: mean 3/2, variance 1/2 (4 + 1) + 1/4 3^2 = 4.75.
    state = popart.initial_state(2)
    first, second = jnp.array([[1.0], [100.0], [5.0]]), jnp.array([[-1.0], [100.0], [1.0]])
    weights, task = jnp.array([[1.0], [0.0], [1.0]]), jnp.array([1])
    state = popart.update_advantages(
        state._replace(updates=jnp.array([0, 1])), first, weights, task
    )
    np.testing.assert_array_equal(state.advantage_mean, [0.0, 3.0])
    np.testing.assert_array_equal(state.advantage_variance, [0.0, 4.0])
    state = popart.update_advantages(
        state._replace(updates=jnp.array([0, 2])), second, weights, task
    )
    np.testing.assert_array_equal(state.advantage_mean, [0.0, 1.5])
    np.testing.assert_array_equal(state.advantage_variance, [0.0, 4.75])
    # After many updates the step is 1/100: mean 1.5 + 0.01 (3 - 1.5).
    state = popart.update_advantages(
        state._replace(updates=jnp.array([0, 10**9])), first, weights, task
    )
    np.testing.assert_allclose(state.advantage_mean, [0.0, 1.515], rtol=1e-6)
    np.testing.assert_allclose(
        state.advantage_variance, [0.0, 4.75 + 0.01 * (4 - 4.75 + 0.99 * 1.5**2)], rtol=1e-6
    )
    for field in ("mean", "variance", "reward_square"):  # the others stay
        np.testing.assert_array_equal(
            getattr(state, field), getattr(popart.initial_state(2), field)
        )


# Output preservation.

NUM_FEATURES = 64


def random_scales(rng: np.random.Generator, number: int, num_tasks: int) -> list[popart.Scale]:
    """Scales that PopArt goes through while the reward scale wanders between 1e-3 and 1e5."""
    low, high = np.log(1e-3), np.log(1e5)
    log_reward_scale = rng.uniform(low, high, size=num_tasks)
    state = popart.initial_state(num_tasks)
    scales = [scale_of(state)]
    tasks = np.arange(num_tasks, dtype=np.int32)
    weights = np.ones((8, num_tasks), np.float32)
    for _ in range(number):
        log_reward_scale += rng.normal(scale=0.3, size=num_tasks)
        log_reward_scale = np.clip(log_reward_scale, low, high)
        values = rng.normal(loc=0.5, size=weights.shape) * np.exp(log_reward_scale)
        step_size = rng.choice([0.01, 0.3])
        state = update_statistics(state, values.astype(np.float32), weights, tasks, step_size)
        scales.append(scale_of(state))
    sigma = np.array([scale.sigma for scale in scales])
    assert sigma.min() < 1e-2 and sigma.max() > 1e4  # at least six orders of magnitude
    return scales


def unnormalised(head: popart.Head, scale: popart.Scale, features: Array) -> Array:
    """Values of a float32 head, in float64, so that only the head's own rounding is seen."""
    return exact(scale.sigma) * (features @ exact(head.w) + exact(head.b)) + exact(scale.mu)


def rounding(
    head: popart.Head, old: popart.Scale, new: popart.Scale, preserved: popart.Head, x: Array
) -> Array:
    """Bounds how far one `preserve_outputs` in float32 may move the unnormalised values.

    To first order in u = 2^-24, multiplied by sigma' to unnormalise:
      w' = w (sigma / sigma')                       two roundings: 2u |x| |sigma w|
      b' = b (sigma / sigma') + (mu - mu') / sigma'
        first term                                  two roundings: 2u |sigma b|
        second term                                 two roundings: 2u |mu - mu'|
        their sum                                   one rounding:  u |sigma' b'|
    The factor 1.01 covers second-order terms.
    """
    by_weights = 2 * np.abs(x) @ np.abs(exact(old.sigma) * exact(head.w))
    by_bias = (
        2 * np.abs(exact(old.sigma) * exact(head.b))
        + 2 * np.abs(exact(old.mu) - exact(new.mu))
        + np.abs(exact(new.sigma) * exact(preserved.b))
    )
    return 1.01 * UNIT * (by_weights + by_bias)


def random_head(rng: np.random.Generator, num_tasks: int) -> popart.Head:
    w = rng.normal(size=(NUM_FEATURES, num_tasks)) / np.sqrt(NUM_FEATURES)
    b = rng.normal(size=num_tasks)
    return popart.Head(w=jnp.asarray(w, jnp.float32), b=jnp.asarray(b, jnp.float32))


def test_each_update_preserves_the_outputs_to_rounding() -> None:
    """Heads as training leaves them, normalised values of order 1, at each of 3000 updates."""
    rng = np.random.default_rng(0)
    num_tasks = 4
    preserve_outputs = jax.jit(popart.preserve_outputs)
    scales = random_scales(rng, 3000, num_tasks)
    heads = [random_head(rng, num_tasks) for _ in range(20)]
    features = np.maximum(rng.normal(size=(16, NUM_FEATURES)), 0.0)
    for update, (old, new) in enumerate(zip(scales[:-1], scales[1:], strict=True)):
        head = heads[update % len(heads)]
        preserved = preserve_outputs(head, old, new)
        before = unnormalised(head, old, features)
        after = unnormalised(preserved, new, features)
        assert np.all(np.abs(after - before) <= rounding(head, old, new, preserved, features))


def test_a_large_mean_costs_the_preserved_outputs_no_precision() -> None:
    # The bound contains |mu - mu'|, not |mu|: 3e-7 here, where a rounding at 1e5 costs 4e-3.
    rng = np.random.default_rng(5)
    features = np.maximum(rng.normal(size=(16, NUM_FEATURES)), 0.0)
    for _ in range(50):
        mu = np.array([1e5, -3e4]) + rng.normal(size=(2, 2))
        sigma = np.exp(rng.normal(scale=0.3, size=(2, 2)))
        old, new = (
            popart.Scale(jnp.asarray(m, jnp.float32), jnp.asarray(s, jnp.float32))
            for m, s in zip(mu, sigma, strict=True)
        )
        head = random_head(rng, 2)
        preserved = popart.preserve_outputs(head, old, new)
        moved = unnormalised(preserved, new, features) - unnormalised(head, old, features)
        assert np.all(np.abs(moved) <= rounding(head, old, new, preserved, features))


def test_the_drift_over_many_updates_is_that_of_rounding() -> None:
    """A head that only preservation changes, through 2000 consecutive updates."""
    rng = np.random.default_rng(1)
    num_tasks = 4
    preserve_outputs = jax.jit(popart.preserve_outputs)
    scales = random_scales(rng, 2000, num_tasks)
    features = np.maximum(rng.normal(size=(16, NUM_FEATURES)), 0.0)
    head = random_head(rng, num_tasks)
    start = unnormalised(head, scales[0], features)
    worst_case = np.zeros_like(start)
    squares = np.zeros_like(start)
    for old, new in zip(scales[:-1], scales[1:], strict=True):
        preserved = preserve_outputs(head, old, new)
        bound = rounding(head, old, new, preserved, features)
        worst_case += bound
        squares += bound**2
        head = preserved
        drift = np.abs(unnormalised(head, new, features) - start)
        assert np.all(drift <= worst_case)
    # Roundings have no common direction: they add up like a random walk, far below the worst case.
    assert np.all(drift <= np.sqrt(squares))


def test_renormalised_values_are_those_of_the_preserved_head() -> None:
    rng = np.random.default_rng(2)
    scales = random_scales(rng, 2000, 3)
    head = random_head(rng, 3)
    x = np.maximum(rng.normal(size=(7, 2, NUM_FEATURES)), 0.0).astype(np.float32)
    normalised = jnp.asarray(x @ np.asarray(head.w) + np.asarray(head.b))
    for old, new in zip(scales[:-50:50], scales[50::50], strict=True):
        renormalised = popart.renormalise(normalised, *expanded(old, new))
        preserved = popart.preserve_outputs(head, old, new)
        expected = exact(x) @ exact(preserved.w) + exact(preserved.b)
        bound = 1e-6 * (np.abs(exact(x)) @ np.abs(exact(preserved.w)) + np.abs(exact(preserved.b)))
        bound += 1e-6 * np.abs((exact(old.mu) - exact(new.mu)) / exact(new.sigma))
        assert np.all(np.abs(exact(renormalised) - expected) <= bound)


def expanded(*scales: popart.Scale) -> list[popart.Scale]:
    """Scales as [1, 1, num_tasks]."""
    return [popart.Scale(*(array[None, None] for array in scale)) for scale in scales]


def test_the_preserved_heads_gradient() -> None:
    """One pass at the old head gives the gradient of a second pass at the preserved head."""
    rng = np.random.default_rng(4)
    observation = jnp.asarray(rng.normal(size=(40, 8)), jnp.float32)
    torso = jnp.asarray(rng.normal(size=(8, NUM_FEATURES)) / 3, jnp.float32)
    head = random_head(rng, 3)
    old = popart.Scale(mu=jnp.array([0.5, -30.0, 1e4]), sigma=jnp.array([1e-3, 20.0, 1e5]))
    new = popart.Scale(mu=jnp.array([0.6, -20.0, 1e5]), sigma=jnp.array([2e-1, 21.0, 3e4]))
    weights = jnp.asarray(rng.normal(size=(40, 3)), jnp.float32)

    def loss(normalised: jax.Array) -> jax.Array:
        return jnp.sum(weights * jnp.sin(normalised))

    def values(torso: jax.Array, head: popart.Head) -> jax.Array:
        return jnp.tanh(observation @ torso) @ head.w + head.b[None]

    def one_pass(torso: jax.Array, head: popart.Head) -> jax.Array:
        scales = (popart.Scale(scale.mu[None], scale.sigma[None]) for scale in (old, new))
        return loss(popart.renormalise(values(torso, head), *scales))

    def two_passes(torso: jax.Array, preserved: popart.Head) -> jax.Array:
        return loss(values(torso, preserved))

    by_torso, by_head = jax.jit(jax.grad(one_pass, argnums=(0, 1)))(torso, head)
    corrected = jax.jit(popart.preserved_head_gradient)(by_head, old, new)
    preserved = popart.preserve_outputs(head, old, new)
    expected_torso, expected = jax.jit(jax.grad(two_passes, argnums=(0, 1)))(torso, preserved)

    for actual, wanted in ((corrected.w, expected.w), (corrected.b, expected.b)):
        bound = 2e-5 * jnp.max(jnp.abs(wanted), axis=0)  # per task
        assert np.all(np.abs(actual - wanted) <= np.broadcast_to(bound, wanted.shape))
    assert np.all(np.abs(by_torso - expected_torso) <= 2e-5 * np.max(np.abs(expected_torso)))
