"""Rewards whose scale changes."""

import numpy as np
import pytest
from absl.testing import absltest
from dm_env import test_utils

from environments.toy import Catch, Follow, Rescaled
from environments.toy.board import STAY
from tests.environments.toy_play import play


def test_rewards_change_with_an_episode_and_nothing_else_does() -> None:
    environment, plain = Rescaled(Follow(seed=0), factor=50.0, episodes=3), Follow(seed=0)
    for episode in range(6):
        expected = play(plain, lambda board: STAY)
        factor = 50 if episode >= 3 else 1
        assert play(environment, lambda board: STAY) == [factor * reward for reward in expected]
    np.testing.assert_array_equal(environment.reset().observation, plain.reset().observation)
    assert environment.observation_spec() == plain.observation_spec()
    assert environment.action_spec() == plain.action_spec()


def test_from_the_first_episode_on() -> None:
    environment = Rescaled(Follow(seed=0), factor=50.0, episodes=0)
    assert set(map(abs, play(environment, lambda board: STAY))) == {50.0}


def test_an_episode_that_step_starts_counts() -> None:
    environment = Rescaled(Catch(seed=0), factor=7.0, episodes=1)
    rewards = [environment.step(STAY).reward for _ in range(20)]  # 2 starts, 2 x 9 steps
    assert [abs(reward) for reward in rewards if reward] == [1.0, 7.0]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"factor": 0.0, "episodes": 1}, "factor is 0.0"),
        ({"factor": -1.0, "episodes": 1}, "factor is -1.0"),
        ({"factor": 2.0, "episodes": -1}, "episodes is -1"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rescaled(Catch(), **arguments)  # type: ignore[arg-type]


class DmEnvContractTest(test_utils.EnvironmentTestMixin, absltest.TestCase):
    """dm_env's own interface tests; 20 steps cross the ends of two episodes."""

    def make_object_under_test(self) -> Rescaled:
        return Rescaled(Catch(seed=0), factor=10.0, episodes=1)
