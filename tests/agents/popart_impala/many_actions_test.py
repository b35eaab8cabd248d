"""Networks for hundreds of actions and more."""

import jax.numpy as jnp
import numpy as np
import pytest
from dm_env import specs

from agents.popart_impala import Config
from agents.popart_impala.networks import Networks, make_networks
from agents.popart_impala.networks.single import action_codes, actions_and_rewards
from agents.popart_impala.types import AgentInput


def networks(actions: int, **options: object) -> Networks:
    return make_networks(
        Config(**{"network": "mlp", **options}),  # type: ignore[arg-type]
        features_spec=specs.Array((3,), np.float32),
        num_actions=actions,
        num_tasks=1,
    )


@pytest.mark.parametrize("network", ["mlp", "progressive"])
def test_parameters_grow_with_the_actions_and_not_with_their_square(network: str) -> None:
    """In the head, each action has a bias and weights for 256 hidden units and 257 inputs."""
    sizes = [networks(n, network=network).num_params for n in (300, 5_000, 20_000)]
    assert sizes[1] - sizes[0] == 4_700 * 514
    assert sizes[2] - sizes[1] == 15_000 * 514


def test_few_actions_are_one_hot() -> None:
    inputs = AgentInput(None, None, jnp.array([2, 0]), jnp.array([-7.0, 0.5]), None)
    shown = actions_and_rewards(inputs, 256)
    assert shown.shape == (2, 257)
    np.testing.assert_array_equal(shown[:, :256], np.eye(256)[[2, 0]])
    np.testing.assert_array_equal(shown[:, 256], [-1.0, 0.5])
    np.testing.assert_array_equal(
        actions_and_rewards(inputs, 257)[:, :256], action_codes(inputs.previous_action)
    )


def test_codes_are_nearly_orthogonal() -> None:
    codes = np.asarray(action_codes(jnp.arange(20_000)))
    assert len(np.unique(codes > 0, axis=0)) == 20_000
    assert set(np.unique(codes)) == {-1 / 16, 1 / 16}
    products = codes[:1000] @ codes[:1000].T
    np.testing.assert_allclose(np.diag(products), 1.0)
    # As with random signs: normal with deviation 1/16; half a million stay below 5.5 deviations.
    others = products[np.triu_indices(1000, 1)]
    assert others.std() == pytest.approx(1 / 16, rel=0.02)
    assert np.abs(others).max() < 5.5 / 16


def test_a_code_does_not_change() -> None:
    """The weights in a policy file depend on these codes."""
    codes = np.asarray(action_codes(jnp.array([0, 1, 19_999])))
    np.testing.assert_array_equal(np.packbits(codes > 0, axis=1)[:, :4], FROZEN)


FROZEN = [[124, 24, 250, 96], [42, 29, 168, 45], [42, 170, 63, 238]]


@pytest.mark.parametrize(
    ("options", "actions", "message"),
    [
        (
            {},
            10**6,
            "network='mlp': would have 514,067,330 parameters, 2,056,269,320 bytes, with 1,000,000 "
            "actions, observations of [3] and hidden_size=256; it must be at most 268,435,456",
        ),
        ({}, 2**31 - 1, "network='mlp': would have 1,103,806,661,888 parameters"),
        ({"hidden_size": 10**10}, 3, "network='mlp': would have 100,000,000,090,000,000,020 par"),
    ],
)
def test_absurd_sizes_are_refused(options: dict[str, object], actions: int, message: str) -> None:
    with pytest.raises(ValueError) as error:
        networks(actions, **options)
    assert str(error.value).startswith(message)
