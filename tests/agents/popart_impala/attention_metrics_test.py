"""Attention weights as users get them: in the update's metrics and in both actors' policies."""

import jax
import jax.numpy as jnp
import numpy as np
from dm_env import specs

from agents.popart_impala import popart
from agents.popart_impala.acting import make_policy
from agents.popart_impala.config import Config
from agents.popart_impala.networks import make_networks
from agents.popart_impala.training_state import make_optimiser
from agents.popart_impala.types import AgentInput, Unroll
from agents.popart_impala.update import make_update, mean_attention

T, B, K, NUM_TASKS, NUM_ACTIONS = 5, 4, 3, 3, 2
CONFIG = Config(network="attentive", subnets=K, hidden_size=8)
NETWORKS = make_networks(
    CONFIG,
    features_spec=specs.Array((6,), np.float32, "vector"),
    num_actions=NUM_ACTIONS,
    num_tasks=NUM_TASKS,
)
TASK = np.array([0, 2, 2, 0], np.int32)  # none of task 1


def random_unrolls() -> Unroll:
    rng = np.random.default_rng(0)
    return Unroll(
        inputs=AgentInput(
            features=rng.normal(size=(B, T + 1, 6)).astype(np.float32),
            task=TASK,
            previous_action=rng.integers(NUM_ACTIONS, size=(B, T + 1), dtype=np.int32),
            previous_reward=rng.normal(size=(B, T + 1)).astype(np.float32),
            first=rng.random((B, T + 1)) < 0.2,
        ),
        action=rng.integers(NUM_ACTIONS, size=(B, T), dtype=np.int32),
        reward=rng.normal(size=(B, T)).astype(np.float32),
        discount=np.ones((B, T), np.float32),
        truncation_value=np.zeros((B, T), np.float32),
        behaviour_logits=rng.normal(size=(B, T, NUM_ACTIONS)).astype(np.float32),
        initial_state=(),
        params_step=np.zeros(B, np.int32),
    )


def test_mean_attention() -> None:
    rng = np.random.default_rng(1)
    attention = rng.random((T, B, K)).astype(np.float32)
    task = rng.choice([0, 2], size=(T, B))
    actual = mean_attention(jnp.asarray(attention), jnp.asarray(task), NUM_TASKS)
    for i in (0, 2):
        np.testing.assert_allclose(actual[i], attention[task == i].mean(axis=0), rtol=1e-5)
    assert np.isnan(actual[1]).all()


def test_the_update_reports_attention_by_sub_network_and_task() -> None:
    params = NETWORKS.init(jax.random.PRNGKey(0))
    unrolls = random_unrolls()
    inputs = unrolls.inputs._replace(task=np.tile(TASK[:, None], (1, T + 1)))
    inputs = jax.tree.map(lambda x: np.swapaxes(x, 0, 1), inputs)
    attention = np.asarray(NETWORKS.unroll(params, inputs, ()).attention)  # [T+1, B, K]
    assert attention.shape == (T + 1, B, K)
    np.testing.assert_allclose(attention.sum(-1), 1.0, rtol=1e-5)
    update = make_update(NETWORKS, CONFIG, stacked=False)
    *_, metrics = update(
        params,
        make_optimiser(CONFIG).init(params),
        popart.initial_state(NUM_TASKS),
        unrolls,
        np.float32(1e-4),
    )
    for k in range(K):
        for task in (0, 2):
            expected = attention[:, task == TASK, k].mean()
            np.testing.assert_allclose(metrics[f"attention_{k}"][task], expected, rtol=1e-4)
        assert np.isnan(metrics[f"attention_{k}"][1])


def test_the_policy_gives_the_weights_of_its_choice() -> None:
    params = NETWORKS.init(jax.random.PRNGKey(0))
    inputs = jax.tree.map(lambda x: x[:, 0], random_unrolls().inputs._replace(task=()))
    inputs = inputs._replace(task=TASK)
    step = make_policy(NETWORKS)(params, jax.random.PRNGKey(1), inputs, ())
    expected = NETWORKS.step(params, inputs, ())[0].attention
    assert step.attention is not None
    assert expected is not None
    np.testing.assert_allclose(step.attention, expected, rtol=1e-5)
