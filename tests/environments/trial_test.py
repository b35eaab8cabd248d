"""A short game before a run."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from dm_env import specs

from environments import Catch, EnvironmentRaised, parse_level_name
from environments.trial import largest_feature


class Large(Catch):
    def observation_spec(self) -> specs.Array:
        return specs.Array((3,), np.float32)

    def reset(self):  # type: ignore[no-untyped-def]
        timestep = super().reset()
        return timestep._replace(observation=np.array([-250, np.nan, np.inf], np.float32))

    def step(self, action):  # type: ignore[no-untyped-def]
        timestep = super().step(action)
        return timestep._replace(observation=np.zeros(3, np.float32))


class Failing(Catch):
    def step(self, action):  # type: ignore[no-untyped-def]
        raise RuntimeError("lost the simulator")


@pytest.fixture(autouse=True)
def own_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(
        large=lambda seed: Large(seed=seed), failing=lambda seed: Failing(seed=seed)
    )
    monkeypatch.setitem(sys.modules, "own_trial", module)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("gym:CartPole-v1", 0.01, 30),
        ("gym:ALE/Pong-v5", 0, 0),  # images
        ("pong", 0, 0),
        ("catch_x1", 0, 0),
        ("dm_env:own_trial:large", 250, 250),
    ],
)
def test_the_largest_number(name: str, low: float, high: float) -> None:
    (task,) = parse_level_name(name)
    assert low <= largest_feature(task) <= high


def test_a_step_that_raises() -> None:
    (task,) = parse_level_name("dm_env:own_trial:failing")
    with pytest.raises(EnvironmentRaised, match="RuntimeError: lost the simulator"):
        largest_feature(task)
