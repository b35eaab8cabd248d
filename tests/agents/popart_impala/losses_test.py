"""V-trace and the loss, against the float64 oracle and against numbers worked out by hand."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.popart_impala import losses, popart
from agents.popart_impala.config import LOSS_REDUCTIONS, REWARD_CLIPPINGS, Config
from tests.agents.popart_impala import oracle
from tests.agents.popart_impala.statistics import settled

Array = np.ndarray

# Relative to an array's largest entry: some 100 roundings to float32 (6e-8 each).
TOLERANCE = 2e-5

T, A = 12, 5
# Task 3 has one sequence, with every step cut off; task 4 is absent.
TASK = np.array([0, 0, 1, 1, 1, 2, 2, 0, 1, 2, 3], np.int32)
B, N = len(TASK), 5
TERMINATIONS = [(0, 0), (T - 1, 1), (5, 2), (5, 5), (6, 5), (3, 9), (8, 9)]  # (t, b)
TIME_LIMITS = [(0, 1), (T - 1, 0), (8, 2), (4, 6), (7, 7), (8, 7), (10, 9)]
CUT_OFF = [(0, 3), (T - 1, 4), (7, 2), (6, 6), (3, 7), (4, 7), (9, 9)]  # without a known successor
ALL_CUT_OFF = 10  # b

MEAN = np.array([0.5, -40.0, 3000.0, 7.0, -1.0], np.float32)
SIGMA = np.array([2.0, 30.0, 800.0, 0.25, 50.0], np.float32)
# Task 1's advantages deviate by less than the floor on their deviation that follows from this.
REWARD_SQUARE = np.array([0.5, 4e5, 1e5, 0.01, 200.0], np.float32)
ADVANTAGE_MEAN = np.array([0.4, -30.0, 900.0, 0.1, 2.0], np.float32)
ADVANTAGE_VARIANCE = np.array([3.0, 5e3, 4e6, 0.02, 80.0], np.float32)
REWARD_SCALE = np.array([1.0, 100.0, 10_000.0, 1.0, 1.0])
BIG_STEP = 0.2  # step size that sets the new statistics apart from the old


def assert_close(actual: Any, expected: Any, name: str) -> None:
    expected = np.asarray(expected)
    bound = TOLERANCE * np.max(np.abs(expected))
    np.testing.assert_allclose(
        np.asarray(actual, np.float64), expected, rtol=0, atol=bound, err_msg=name
    )


def random_batch(seed: int) -> losses.LossInput:
    """A batch with the episode ends above, rewards of three scales, and far off-policy actions."""
    rng = np.random.default_rng(seed)
    discount = np.ones((T, B))
    first = np.zeros((T + 1, B), bool)
    first[0, ::3] = True
    for t, b in TERMINATIONS:
        discount[t, b] = 0.0
        first[t + 1, b] = True
    truncation_value = np.zeros((T, B))
    for t, b in TIME_LIMITS:
        discount[t, b] = 0.0
        first[t + 1, b] = True
        truncation_value[t, b] = MEAN[TASK[b]] + SIGMA[TASK[b]] * np.sin(t + b)
    for t, b in CUT_OFF:
        first[t + 1, b] = True
    first[1:, ALL_CUT_OFF] = True
    small = rng.random((T, B)) < 0.3
    reward = rng.normal(size=(T, B)) * np.where(small, 0.5, 3 * REWARD_SCALE[TASK])
    arrays = {
        "logits": rng.normal(scale=2.0, size=(T + 1, B, A)),
        "normalised_values": rng.normal(size=(T + 1, B, N)),
        "behaviour_logits": rng.normal(scale=2.0, size=(T, B, A)),
        "action": rng.integers(A, size=(T, B)),
        "reward": reward,
        "discount": discount,
        "truncation_value": truncation_value,
        "first": first,
        "task": TASK,
    }
    # float64 and int64 become float32 and int32 here.
    return losses.LossInput(**{name: jnp.asarray(array) for name, array in arrays.items()})


def state() -> popart.PopArtState:
    return settled(MEAN, SIGMA**2, REWARD_SQUARE)._replace(
        advantage_mean=jnp.asarray(ADVANTAGE_MEAN),
        advantage_variance=jnp.asarray(ADVANTAGE_VARIANCE),
    )


def as_oracle(batch: losses.LossInput) -> oracle.Batch:
    arrays = {name: np.asarray(array) for name, array in batch._asdict().items()}
    return oracle.Batch(
        **{n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in arrays.items()}
    )


def oracle_statistics() -> oracle.Statistics:
    mean, sigma = MEAN.astype(np.float64), SIGMA.astype(np.float64)
    advantage_mean = ADVANTAGE_MEAN.astype(np.float64)
    return oracle.Statistics(
        mean,
        mean**2 + sigma**2,
        REWARD_SQUARE.astype(np.float64),
        advantage_mean,
        advantage_mean**2 + ADVANTAGE_VARIANCE,
        np.asarray(state().updates),
    )


@functools.partial(jax.jit, static_argnames="config")
def loss_and_gradients(
    batch: losses.LossInput, statistics: popart.PopArtState, config: Config
) -> Any:
    """((loss, (new state, metrics)), (by logits, by normalised_values))."""

    def loss(logits: jax.Array, normalised_values: jax.Array) -> Any:
        changed = batch._replace(logits=logits, normalised_values=normalised_values)
        return losses.popart_vtrace_loss(changed, statistics, config)

    differentiate = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    return differentiate(batch.logits, batch.normalised_values)


# V-trace.

jit_vtrace = jax.jit(losses.vtrace)


def test_vtrace_by_hand() -> None:
    # V = 1, 2, 3, bootstrap 4; r = 1, -1, 2; gamma = 1/2; rho = 2, 1/2, 1/4, clipped 1, 1/2, 1/4.
    #   delta_0 = 1   ( 1 + 2/2 - 1) =  1
    #   delta_1 = 1/2 (-1 + 3/2 - 2) = -3/4
    #   delta_2 = 1/4 ( 2 + 4/2 - 3) =  1/4
    #   v_2 = 3 + 1/4                             = 3.25
    #   v_1 = 2 - 3/4 + 1/2 1/2 1/4               = 1.3125
    #   v_0 = 1 + 1 + 1/2 1 (-3/4) + 1/4 1 1/2 1/4 = 1.65625
    #   advantage_0 =  1 + 1.3125/2 - 1 =  0.65625
    #   advantage_1 = -1 + 3.25/2 - 2   = -1.375
    #   advantage_2 =  2 + 4/2 - 3      =  1, on the bootstrap value
    # Every number is a float32, so the comparison is exact.
    values = np.array([1, 2, 3, 4], np.float32)
    reward = np.array([1, -1, 2], np.float32)
    rho = np.array([2, 0.5, 0.25], np.float32)
    result = jit_vtrace(values, reward, np.full(3, 0.5, np.float32), rho, 1.0)
    np.testing.assert_array_equal(result.targets, [1.65625, 1.3125, 3.25])
    np.testing.assert_array_equal(result.advantages, [0.65625, -1.375, 1.0])

    # The same, terminated after the second step:
    #   delta_1 = 1/2 (-1 - 2) = -3/2,  v_1 = 1/2,  v_0 = 1 + 1 - 3/4 = 1.25
    #   advantage_0 = 1 + 1/4 - 1 = 0.25,  advantage_1 = -1 - 2 = -3
    result = jit_vtrace(values, reward, np.array([0.5, 0, 0.5], np.float32), rho, 1.0)
    np.testing.assert_array_equal(result.targets, [1.25, 0.5, 3.25])
    np.testing.assert_array_equal(result.advantages, [0.25, -3.0, 1.0])

    # The same, with the second step left out instead (ratio 0): v_1 = V_1 = 2,
    #   v_0 = 1 + 1 = 2,  advantage_0 = 1 + 2/2 - 1 = 1
    rho = np.array([2, 0, 0.25], np.float32)
    result = jit_vtrace(values, reward, np.full(3, 0.5, np.float32), rho, 1.0)
    np.testing.assert_array_equal(result.targets, [2.0, 2.0, 3.25])
    np.testing.assert_array_equal(result.advantages[::2], [1.0, 1.0])

    # The first again with lambda = 1/2, which halves the weights of later deltas:
    #   v_1 = 2 - 3/4 + 1/2 1/4 1/4 = 1.28125,  v_0 = 1 + 1 + 1/2 1/2 (-3/4) + 1/4 1/2 1/4 1/4
    #   advantage_0 = 1 + (1/2 1.28125 + 1/2 2)/2 - 1,  advantage_1 = -1 + (1/2 3.25 + 1/2 3)/2 - 2
    rho = np.array([2, 0.5, 0.25], np.float32)
    result = jit_vtrace(values, reward, np.full(3, 0.5, np.float32), rho, 0.5)
    np.testing.assert_array_equal(result.targets, [1.8203125, 1.28125, 3.25])
    np.testing.assert_array_equal(result.advantages, [0.8203125, -1.4375, 1.0])


@pytest.mark.parametrize("lambda_", [1.0, 0.9, 0.0])
@pytest.mark.parametrize("seed", range(5))
def test_vtrace_is_the_double_sum_of_its_definition(seed: int, lambda_: float) -> None:
    rng = np.random.default_rng(seed)
    length = 30
    values = rng.normal(size=length + 1).astype(np.float32)
    reward = rng.normal(size=length).astype(np.float32)
    discount = np.full(length, 0.97, np.float32)
    discount[[0, 11, 12, length - 1]] = 0.0
    rho = np.exp(rng.normal(scale=1.5, size=length)).astype(np.float32)
    left_out = np.array([5, 13, 20])
    rho[left_out] = 0.0
    counts = np.ones(length, bool)
    counts[left_out] = False
    assert np.sum(rho > 3) >= 2 and np.sum(rho[counts] < 1 / 3) >= 2

    expected = oracle.vtrace(
        values.astype(np.float64),
        reward.astype(np.float64),
        discount.astype(np.float64),
        rho.astype(np.float64),
        counts,
        lambda_=lambda_,
    )
    result = jit_vtrace(values, reward, discount, rho, lambda_)
    assert_close(result.targets, expected.targets, "targets")
    assert_close(result.advantages[counts], expected.advantages[counts], "advantages")


@pytest.mark.parametrize("terminations", [[], [0], [7], [19], [0, 7, 8, 19]])
def test_vtrace_on_policy_is_the_return(terminations: list[int]) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=21).astype(np.float32)
    reward = rng.normal(size=20).astype(np.float32)
    discount = np.full(20, 0.9, np.float32)
    discount[terminations] = 0.0
    returns, following = np.zeros(20), float(values[-1])
    for t in reversed(range(20)):
        following = returns[t] = float(reward[t]) + float(discount[t]) * following
    result = jit_vtrace(values, reward, discount, np.ones(20, np.float32), 1.0)
    assert_close(result.targets, returns, "targets")
    assert_close(result.advantages, returns - values[:-1].astype(np.float64), "advantages")


def test_vtrace_has_no_gradient() -> None:
    def total(
        values: jax.Array, reward: jax.Array, discount: jax.Array, rho: jax.Array
    ) -> jax.Array:
        result = losses.vtrace(values, reward, discount, rho, 0.9)
        return jnp.sum(result.targets**2) + jnp.sum(result.advantages**2)

    arrays = (jnp.linspace(0.1, 0.9, length) for length in (5, 4, 4, 4))
    for gradient in jax.grad(total, argnums=(0, 1, 2, 3))(*arrays):
        np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("wrong", range(4))
def test_vtrace_refuses_a_batch_and_unequal_lengths(wrong: int) -> None:
    arrays = [jnp.ones(length) for length in (5, 4, 4, 4)]
    for bad in (arrays[wrong][:, None], arrays[wrong][1:]):
        values, reward, discount, rho = arrays[:wrong] + [bad] + arrays[wrong + 1 :]
        with pytest.raises(AssertionError):
            losses.vtrace(values, reward, discount, rho, 0.9)


# Rewards.


@pytest.mark.parametrize("clipping", REWARD_CLIPPINGS)
def test_transform_reward(clipping: str) -> None:
    reward = np.array([[-1e5, -3, -1, -0.5, -1e-3, 0], [0, 1e-3, 0.5, 1, 3, 1e5]], np.float32)
    expected = [[oracle.transform_reward(float(r), clipping) for r in row] for row in reward]
    result = jax.jit(losses.transform_reward, static_argnums=1)(reward, clipping)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=0)


def test_transform_reward_by_hand() -> None:
    # tanh(1/2) = 0.46211716, 5 of it 2.3105858; tanh(-1/2) times 0.3 = -0.13863515.
    result = losses.transform_reward(jnp.array([0.5, -0.5, 50.0, -50.0]), "soft_asymmetric")
    np.testing.assert_allclose(result, [2.3105858, -0.13863515, 5.0, -0.3], rtol=1e-6)


def test_transform_reward_refuses_an_unknown_name() -> None:
    with pytest.raises(ValueError, match="abs_two"):
        losses.transform_reward(jnp.zeros(3), "abs_two")


# The full loss.

PAPERS: dict[str, Any] = {
    "vtrace_lambda": 1.0,
    "standardise_advantages": False,
    "ratio_clip": None,
}
CONFIGS = {
    f"{clipping}-{reduction}-{'popart' if use_popart else 'plain'}": Config(
        reward_clipping=clipping,
        loss_reduction=reduction,
        popart=use_popart,
        popart_step_size=BIG_STEP,
        baseline_cost=0.7,
        entropy_cost=0.3,
        **PAPERS,
    )
    for clipping in REWARD_CLIPPINGS
    for reduction in LOSS_REDUCTIONS
    for use_popart in (True, False)
}
# Task 0's sigma is below the lower bound, task 2's above the upper, before and after the update.
CONFIGS["bounded-sigma"] = Config(
    popart_step_size=BIG_STEP, popart_scale_min=5.0, popart_scale_max=500.0, discounting=0.9
)
CONFIGS["defaults"] = Config()
CONFIGS["lambda"] = Config(**{**PAPERS, "vtrace_lambda": 0.6}, loss_reduction="sum")
CONFIGS["standardised"] = Config(**{**PAPERS, "standardise_advantages": True})
CONFIGS["ratio-clip"] = Config(**{**PAPERS, "ratio_clip": 0.3}, popart=False)
with_each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def test_the_inputs_reach_what_the_loss_must_handle() -> None:
    batch = as_oracle(random_batch(0))
    counts = ~(batch.first[1:] & (batch.discount == 1))
    ratios = oracle.importance_ratios(batch)
    for task in range(3):
        own = counts & (batch.task == task)[None]
        # In every task, both clips cut some ratios and pass others.
        assert np.sum(ratios[own] > 2) > 3 and np.sum(ratios[own] < 0.5) > 3
        # Reward clipping cuts some rewards on both sides and passes others.
        reward = batch.reward[own]
        assert np.any(reward > 1) and np.any(reward < -1) and np.any(np.abs(reward) < 0.5)
    assert np.any(ratios > 50) and np.any(ratios < 0.02)
    assert not np.any(counts[:, batch.task == 3]) and not np.any(batch.task == 4)

    fixed = oracle.constants(
        batch, oracle_statistics(), Config(**PAPERS, popart_step_size=BIG_STEP)
    )
    for task in range(3):  # old and new statistics are far apart
        assert abs(fixed.new_mu[task] - fixed.mu[task]) > 0.05 * fixed.sigma[task]
        assert abs(fixed.new_sigma[task] / fixed.sigma[task] - 1) > 0.05
    bounded = CONFIGS["bounded-sigma"]
    fixed = oracle.constants(batch, oracle_statistics(), bounded)
    assert fixed.sigma[0] == fixed.new_sigma[0] == 5.0
    assert fixed.sigma[2] == fixed.new_sigma[2] == 500.0


@with_each_config
@pytest.mark.parametrize("seed", range(2))
def test_loss_and_gradients_agree_with_the_oracle(config: Config, seed: int) -> None:
    batch = random_batch(seed)
    exact = as_oracle(batch)
    fixed = oracle.constants(exact, oracle_statistics(), config)
    expected = oracle.losses(exact, fixed, config)
    by_logits, by_values = oracle.gradients(exact, fixed, config)

    (loss, (new_state, metrics)), gradients = loss_and_gradients(batch, state(), config)

    # Each part must be within the rounding of the sums it consists of.
    size = {name: abs(value) for name, value in expected.items()}
    size["loss"] = sum(size[part] for part in size if part.endswith("_loss"))
    assert loss == metrics["loss"]
    for name, value in expected.items():
        assert abs(float(metrics[name]) - value) <= TOLERANCE * size[name], name

    assert_close(gradients[0], by_logits, "by logits")
    assert_close(gradients[1], by_values, "by normalised_values")
    for task in range(3):  # no task hides behind another
        own = TASK == task
        assert_close(gradients[0][:, own], by_logits[:, own], f"by logits, task {task}")
        assert_close(gradients[1][:, own], by_values[:, own], f"by values, task {task}")

    ratios = oracle.importance_ratios(exact)
    assert_close(metrics["rho_mean"], np.mean(ratios), "rho_mean")
    assert_close(metrics["rho_clipped_fraction"], np.mean(ratios > 1), "rho_clipped_fraction")
    for task in range(N):
        bound = TOLERANCE * (abs(fixed.new_mu[task]) + fixed.new_sigma[task])
        assert abs(float(metrics["mu"][task]) - fixed.new_mu[task]) <= bound
        assert abs(float(metrics["sigma"][task]) - fixed.new_sigma[task]) <= bound
        bound *= abs(fixed.new_mu[task]) + fixed.new_sigma[task]
        second_moment = float(new_state.variance[task]) + float(new_state.mean[task]) ** 2
        assert abs(second_moment - fixed.new_statistics.second_moment[task]) <= 2 * bound
        square = fixed.new_statistics.reward_square[task]
        assert_close(new_state.reward_square[task], square, "reward_square")
        mean, square = (
            fixed.new_statistics.advantage_mean[task],
            fixed.new_statistics.advantage_square[task],
        )
        assert_close(new_state.advantage_mean[task], mean, "advantage_mean")
        assert_close(new_state.advantage_variance[task], square - mean**2, "advantage_variance")


@with_each_config
def test_what_the_loss_leaves_alone(config: Config) -> None:
    batch = random_batch(0)
    (_, (new_state, _)), (by_logits, by_values) = loss_and_gradients(batch, state(), config)
    untouched = jnp.array([3, 4])
    for before, after in zip(state(), new_state, strict=True):
        np.testing.assert_array_equal(before[untouched], after[untouched])
    if not config.popart:
        np.testing.assert_array_equal(new_state.mean, MEAN)
        np.testing.assert_array_equal(new_state.variance, SIGMA**2)

    np.testing.assert_array_equal(by_logits[-1], 0.0)  # the last entry is only bootstrapped from
    np.testing.assert_array_equal(by_values[-1], 0.0)
    others = np.arange(N)[None] != TASK[:, None]  # [B, N]
    np.testing.assert_array_equal(np.asarray(by_values)[:, others], 0.0)
    cut_off = np.asarray(batch.first[1:] & (batch.discount == 1))
    for gradient in (by_logits, by_values):
        np.testing.assert_array_equal(np.asarray(gradient)[:-1][cut_off], 0.0)
        assert np.all(np.any(np.asarray(gradient)[:-1][~cut_off] != 0, axis=-1))


def test_standardise_by_hand() -> None:
    # Task 0, one unroll, so that half is its own: advantages 2 and 4 with mean 3, running mean 1,
    # together 2; 0 and 2 from it, mean square 2, running variance 30, together 16, divisor 4.
    # Task 1, two unrolls, two thirds of its own: mean 6, running mean 0, together 4; -1 and 5 from
    # it, mean square 13, running variance 22, together 16, divisor 4.
    # Task 2, half an unroll, in which nothing happens (100 does not count): own mean 0.3, a third
    # of it is 0.1; divided by the floor, 10.
    statistics = popart.initial_state(4)._replace(
        advantage_mean=jnp.array([1.0, 0.0, 0.0, 7.0]),
        advantage_variance=jnp.array([30.0, 22.0, 0.0, 7.0]),
    )
    advantages = jnp.array([[2.0, 3.0, 9.0, 0.3], [4.0, 3.0, 9.0, 100.0]])
    weights = jnp.array([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.0]])
    least = jnp.array([0.5, 0.5, 10.0, 1.0])
    result = losses.standardise(advantages, weights, jnp.array([0, 1, 1, 2]), statistics, least)
    expected = [[0.0, -0.25, 1.25, 0.02], [0.5, -0.25, 1.25, 0.0]]
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-7)


def test_a_task_that_has_not_paid_has_no_policy_gradient() -> None:
    """Its advantages are only noise in its values, so only the entropy bonus moves its policy."""
    batch = random_batch(0)
    unpaid = TASK == 0
    batch = batch._replace(reward=jnp.where(unpaid[None], 0.0, batch.reward))
    square = jnp.asarray(np.where(np.arange(N) == 0, 0.0, REWARD_SQUARE), jnp.float32)
    statistics = state()._replace(reward_square=square)
    config = Config(entropy_cost=0.0)
    (_, (new_state, _)), (by_logits, by_values) = loss_and_gradients(batch, statistics, config)
    assert new_state.reward_square[0] == 0
    np.testing.assert_array_equal(np.asarray(by_logits)[:, unpaid], 0.0)
    assert np.any(np.asarray(by_values)[:, unpaid] != 0)  # values are still learned
    assert np.any(np.asarray(by_logits)[:, TASK == 1] != 0)


@pytest.mark.parametrize(("discounting", "lambda_"), [(0.99, 0.95), (0.9, 0.5), (1.0, 1.0)])
def test_reward_spread_is_that_of_sums_of_rewards(discounting: float, lambda_: float) -> None:
    config = Config(discounting=discounting, vtrace_lambda=lambda_)
    rng = np.random.default_rng(0)
    length, paid = 30, 0.05
    rewards = rng.choice([-7.0, 0.0, 7.0], p=[paid, 1 - 2 * paid, paid], size=(200_000, length))
    sums = rewards @ (discounting * lambda_) ** np.arange(length)
    square = jnp.array([2 * paid * 49.0, 0.0])
    spread = losses.reward_spread(square, length, config)
    np.testing.assert_allclose(spread, [np.std(sums), 0.0], rtol=0.01)


@pytest.mark.parametrize("reduction", LOSS_REDUCTIONS)
def test_a_batch_of_which_no_step_counts(reduction: str) -> None:
    config = Config(loss_reduction=reduction)
    batch = random_batch(0)
    batch = batch._replace(first=jnp.ones_like(batch.first), discount=jnp.ones_like(batch.discount))
    (loss, (new_state, metrics)), gradients = loss_and_gradients(batch, state(), config)
    assert loss == metrics["entropy"] == 0
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0.0)
    for before, after in zip(state(), new_state, strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("reduction", LOSS_REDUCTIONS)
def test_what_was_cut_off_changes_nothing_for_the_others(reduction: str) -> None:
    # A sequence whose steps count, alone and next to one whose steps are all cut off.
    config = Config(loss_reduction=reduction, popart=False)
    both = random_batch(0)
    pair = [0, ALL_CUT_OFF]

    def columns(index: list[int]) -> losses.LossInput:
        chosen = jnp.array(index)
        return both._replace(
            **{n: a[:, chosen] if a.ndim > 1 else a[chosen] for n, a in both._asdict().items()}
        )

    (loss, _), gradients = loss_and_gradients(columns(pair), state(), config)
    (alone, _), gradients_alone = loss_and_gradients(columns(pair[:1]), state(), config)
    np.testing.assert_allclose(loss, alone, rtol=1e-6)
    for gradient, expected in zip(gradients, gradients_alone, strict=True):
        assert_close(gradient[:, :1], expected, "gradient")


def test_a_time_limit_by_hand() -> None:
    # One step of reward 3, clipped to 1, and one action, so the ratio is 1. The last state is
    # worth 10; V = 2, gamma = 1/2: v = 1 + 10/2 = 6, and the value loss is 1/2 1/2 (6 - 2)^2.
    batch = losses.LossInput(
        logits=jnp.zeros((2, 1, 1)),
        normalised_values=jnp.array([[[2.0]], [[100.0]]]),  # the next episode's is ignored
        behaviour_logits=jnp.zeros((1, 1, 1)),
        action=jnp.zeros((1, 1), jnp.int32),
        reward=jnp.full((1, 1), 3.0),
        discount=jnp.zeros((1, 1)),
        truncation_value=jnp.full((1, 1), 10.0),
        first=jnp.array([[False], [True]]),
        task=jnp.zeros(1, jnp.int32),
    )
    config = Config(popart=False, discounting=0.5, reward_clipping="abs_one")
    loss, _ = losses.popart_vtrace_loss(batch, popart.initial_state(1), config)
    assert loss == 4.0


def test_truncation_values_stay_within_their_tasks_values() -> None:
    # V = 10 n + 5 for task 0, with n from -1 to 2; task 1 is not scaled.
    normalised = np.zeros((2, 4, 2), np.float32)
    normalised[:, 0, 0], normalised[:, 2, 0] = (-1.0, 0.5), (0.0, 2.0)
    normalised[:, 1, 1], normalised[:, 3, 1] = (3.0, 4.0), (5.0, 6.0)
    normalised[:, 0, 1] = 1e6  # of another task: ignored
    batch = losses.LossInput(
        logits=jnp.zeros((2, 4, 1)),
        normalised_values=jnp.asarray(normalised),
        behaviour_logits=jnp.zeros((1, 4, 1)),
        action=jnp.zeros((1, 4), jnp.int32),
        reward=jnp.zeros((1, 4)),
        discount=jnp.zeros((1, 4)),
        truncation_value=jnp.array([[-50.0, 4.5, 100.0, 0.0]]),
        first=jnp.zeros((2, 4), bool),
        task=jnp.array([0, 1, 0, 1]),
    )
    statistics = popart.initial_state(2)._replace(
        mean=jnp.array([5.0, 0.0]), variance=jnp.array([100.0, 1.0])
    )
    bounded = losses.bound_truncation_values(batch, statistics, Config())
    assert bounded.truncation_value is not None
    # The last one is not a truncation, so it stays 0.
    np.testing.assert_allclose(bounded.truncation_value, [[-5.0, 4.5, 25.0, 0.0]])
    without = batch._replace(truncation_value=None)
    assert losses.bound_truncation_values(without, statistics, Config()) is without


@pytest.mark.parametrize(
    "name",
    ["none-sum-popart", "soft_asymmetric-mean-plain", "bounded-sigma", "lambda", "ratio-clip"],
)
def test_the_derived_gradients_are_those_of_finite_differences(name: str) -> None:
    # A second check of the oracle: everything that must not carry a gradient is held fixed.
    config = CONFIGS[name]
    batch = as_oracle(random_batch(0))
    part = [0, 2, 5, 9, ALL_CUT_OFF]  # sequences of every task, with both kinds of episode ends
    batch = oracle.Batch._make(a[:, part] if a.ndim > 1 else a[part] for a in batch)
    fixed = oracle.constants(batch, oracle_statistics(), config)

    def loss(logits: Array, normalised_values: Array) -> float:
        changed = batch._replace(logits=logits, normalised_values=normalised_values)
        return oracle.losses(changed, fixed, config)["loss"]

    by_logits, by_values = oracle.gradients(batch, fixed, config)
    logits, values = batch.logits, batch.normalised_values
    differences = oracle.finite_differences(lambda x: loss(x, values), logits, 4e-5)
    np.testing.assert_allclose(differences, by_logits, rtol=0, atol=1e-8 * abs(by_logits).max())
    differences = oracle.finite_differences(lambda x: loss(logits, x), values, 2e-5)
    np.testing.assert_allclose(differences, by_values, rtol=0, atol=1e-8 * abs(by_values).max())


def test_no_gradient_flows_into_statistics_rewards_and_behaviour() -> None:
    config = Config(popart_step_size=BIG_STEP)
    batch = random_batch(0)
    learned = ("logits", "normalised_values")
    given = ("behaviour_logits", "reward", "truncation_value")

    def loss(arrays: dict[str, jax.Array]) -> jax.Array:
        return losses.popart_vtrace_loss(batch._replace(**arrays), state(), config)[0]

    def statistics(arrays: dict[str, jax.Array]) -> jax.Array:
        _, (new, _) = losses.popart_vtrace_loss(batch._replace(**arrays), state(), config)
        return jnp.sum(jnp.stack([jnp.sum(x) for x in new if x.dtype == jnp.float32]))

    for function, names in ((loss, given), (statistics, learned + given)):
        arrays = {name: getattr(batch, name) for name in names}
        for name, gradient in jax.jit(jax.grad(function))(arrays).items():
            np.testing.assert_array_equal(gradient, 0.0, err_msg=f"{function.__name__}, {name}")


def test_an_ignored_steps_ratio_may_overflow() -> None:
    # exp(200) is infinite in float32; a step that is cut off is left out whatever its ratio.
    t, b = CUT_OFF[0]
    batch = random_batch(0)
    action = int(batch.action[t, b])
    batch = batch._replace(
        logits=batch.logits.at[t, b, action].set(100.0),
        behaviour_logits=batch.behaviour_logits.at[t, b, action].set(-100.0),
    )
    loss, (new_state, _) = losses.popart_vtrace_loss(batch, state(), Config())
    assert np.isfinite(loss)
    assert np.all(np.isfinite(new_state.mean)) and np.all(np.isfinite(new_state.variance))


@pytest.mark.parametrize("end", ["termination", "time limit", "unknown"])
def test_nothing_after_an_episodes_end_reaches_it(end: str) -> None:
    # Plain IMPALA, because normalising values and advantages rightly couples all steps.
    config, t = Config(**PAPERS, popart=False), 5
    batch = random_batch(0)
    batch = batch._replace(truncation_value=jnp.zeros((T, B)))
    discount, first = jnp.ones((T, B)), jnp.zeros((T + 1, B), bool)
    later = random_batch(1)

    def with_another_future(batch: losses.LossInput) -> losses.LossInput:
        def join(a: jax.Array, b: jax.Array, index: int) -> jax.Array:
            return jnp.concatenate([a[:index], b[index:]])

        # The reward of a step without a known successor is ignored too.
        from_reward = t if end == "unknown" else t + 1
        return batch._replace(
            logits=join(batch.logits, later.logits, t + 1),
            normalised_values=join(batch.normalised_values, later.normalised_values, t + 1),
            behaviour_logits=join(batch.behaviour_logits, later.behaviour_logits, t + 1),
            action=join(batch.action, later.action, t + 1),
            reward=join(batch.reward, later.reward, from_reward),
        )

    def gradients_until_end(batch: losses.LossInput) -> list[Array]:
        _, gradients = loss_and_gradients(batch, state(), config)
        return [np.asarray(gradient[: t + 1]) for gradient in gradients]

    # Without an episode end the future matters, so the comparison below is meaningful.
    endless = batch._replace(discount=discount, first=first)
    before, after = (gradients_until_end(b) for b in (endless, with_another_future(endless)))
    assert np.all(np.any(before[0] != after[0], axis=-1)[t])

    first = first.at[t + 1].set(True)
    if end != "unknown":
        discount = discount.at[t].set(0.0)
    value = jnp.zeros((T, B)).at[t].set(7.0 if end == "time limit" else 0.0)
    ended = batch._replace(discount=discount, first=first, truncation_value=value)
    before, after = (gradients_until_end(b) for b in (ended, with_another_future(ended)))
    for b, a in zip(before, after, strict=True):
        np.testing.assert_array_equal(b, a)


def test_a_step_has_the_gradient_of_the_preserved_head_in_two_passes() -> None:
    """One pass at the old head, corrected, equals a second pass at the preserved head."""
    batch = random_batch(0)
    config = Config(popart_step_size=BIG_STEP)
    rng = np.random.default_rng(2)
    observation = jnp.asarray(rng.normal(size=(T + 1, B, 9)), jnp.float32)
    params: dict[str, Any] = {
        "torso": jnp.asarray(rng.normal(size=(9, 16)) / 3, jnp.float32),
        "policy": jnp.asarray(rng.normal(size=(16, A)), jnp.float32),
        "head": popart.Head(
            w=jnp.asarray(rng.normal(size=(16, N)) / 4, jnp.float32),
            b=jnp.asarray(rng.normal(size=N), jnp.float32),
        ),
    }

    def loss(params: Any, statistics: popart.PopArtState, config: Config) -> Any:
        features = jnp.tanh(observation @ params["torso"])
        head = params["head"]
        return losses.popart_vtrace_loss(
            batch._replace(
                logits=features @ params["policy"],
                normalised_values=features @ head.w + head.b[None, None],
            ),
            statistics,
            config,
        )

    gradient = jax.jit(jax.grad(loss, has_aux=True), static_argnums=2)
    one_pass, (new_state, _) = gradient(params, state(), config)
    old, new = (popart.configured_scale(s, config) for s in (state(), new_state))
    preserved = params | {"head": popart.preserve_outputs(params["head"], old, new)}
    # With updated statistics held fixed, old and new are the same in the second pass.
    held = Config(popart=False, popart_step_size=1e-9)
    # The advantages are the same in points, and so is the step that their moments take.
    before = state()
    again = new_state._replace(
        advantage_mean=before.advantage_mean, advantage_variance=before.advantage_variance
    )
    two_pass, _ = gradient(preserved, again, held)

    corrected = popart.preserved_head_gradient(one_pass["head"], old, new)
    for task in range(3):
        assert_close(corrected.w[:, task], two_pass["head"].w[:, task], f"w of task {task}")
        assert_close(corrected.b[task], two_pass["head"].b[task], f"b of task {task}")
        # The correction makes a difference.
        assert abs(one_pass["head"].b[task] / two_pass["head"].b[task] - 1) > 0.02
    assert_close(one_pass["torso"], two_pass["torso"], "torso")
    assert_close(one_pass["policy"], two_pass["policy"], "policy")


MALFORMED = {
    "no bootstrap entry in logits": lambda b: b._replace(logits=b.logits[:-1]),
    "no bootstrap entry in values": lambda b: b._replace(
        normalised_values=b.normalised_values[:-1]
    ),
    "no bootstrap entry in first": lambda b: b._replace(first=b.first[:-1]),
    "values without tasks": lambda b: b._replace(normalised_values=b.normalised_values[..., 0]),
    "values of too few tasks": lambda b: b._replace(
        normalised_values=b.normalised_values[..., :-1]
    ),
    "other actions in the behaviour": lambda b: b._replace(
        behaviour_logits=b.behaviour_logits[..., :-1]
    ),
    "one sequence": lambda b: b._replace(action=b.action[:, 0]),
    "reward of one sequence less": lambda b: b._replace(reward=b.reward[:, 1:]),
    "truncation value of one step less": lambda b: b._replace(
        truncation_value=b.truncation_value[1:]
    ),
    "discount of one step less": lambda b: b._replace(discount=b.discount[1:]),
    "task at every step": lambda b: b._replace(task=np.tile(b.task, (T, 1))),
    "task of one sequence less": lambda b: b._replace(task=b.task[1:]),
    "batch first": lambda b: b._make(a.swapaxes(0, 1) if a.ndim > 1 else a for a in b),
}


@pytest.mark.parametrize("malform", MALFORMED.values(), ids=MALFORMED.keys())
def test_the_loss_refuses_malformed_batches(malform: Any) -> None:
    with pytest.raises(AssertionError):
        losses.popart_vtrace_loss(malform(random_batch(0)), state(), Config())
