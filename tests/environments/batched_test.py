"""dm_env environments as tasks and as batches."""

from typing import Any

import dm_env
import numpy as np
import pytest
from absl.testing import absltest
from dm_env import specs, test_utils

from environments import BatchedDmEnvironments, Catch, Observation, WithTask


class Countdown(dm_env.Environment):
    """Observation [episode, step]; the reward is 10 * episode + step; action 1 terminates.

    An episode is cut off after `length` steps. All observations are one buffer that is overwritten.
    Actions must have the type of the spec.
    """

    def __init__(self, length: int, dtype: Any = np.int64, size: int = 2):
        self._length = length
        self._dtype = dtype
        self._episode = 0
        self._step = 0
        self._shown = np.zeros(size, np.float32)
        self.closed = False

    def _show(self) -> np.ndarray:
        self._shown[:2] = self._episode, self._step
        return self._shown

    def reset(self) -> dm_env.TimeStep:
        self._episode += 1
        self._step = 0
        return dm_env.restart(self._show())

    def step(self, action: Any) -> dm_env.TimeStep:
        self.action_spec().validate(action)
        self._step += 1
        reward = 10.0 * self._episode + self._step
        if action == 1:
            return dm_env.termination(reward, self._show())
        if self._step == self._length:
            return dm_env.truncation(reward, self._show(), discount=0.5)
        return dm_env.transition(reward, self._show(), discount=0.75)

    def observation_spec(self) -> specs.Array:
        return specs.Array(self._shown.shape, np.float32, "episode_and_step")

    def action_spec(self) -> specs.DiscreteArray:
        return specs.DiscreteArray(2, self._dtype, "stop")

    def close(self) -> None:
        self.closed = True


def make_batch(*lengths: int) -> BatchedDmEnvironments:
    return BatchedDmEnvironments(
        [WithTask(Countdown(length), i % 2, num_tasks=2) for i, length in enumerate(lengths)]
    )


def test_specs_and_tasks() -> None:
    batch = make_batch(3, 3, 3)
    np.testing.assert_array_equal(batch.tasks, [0, 1, 0])
    assert batch.tasks.dtype == np.int32
    assert batch.num_environments == 3
    assert batch.observation_spec().features == specs.Array((2,), np.float32)
    assert batch.observation_spec().task == specs.DiscreteArray(2, np.int32)
    assert batch.action_spec() == specs.DiscreteArray(2, np.int32)


def test_an_episodes_end_and_the_next_ones_start_are_one_step() -> None:
    batch = make_batch(2, 3)
    step = batch.reset()
    np.testing.assert_array_equal(step.observation.features, [[1, 0], [1, 0]])
    np.testing.assert_array_equal(step.observation.task, [0, 1])
    np.testing.assert_array_equal(step.first, [True, True])
    np.testing.assert_array_equal(step.episode_end, [False, False])
    np.testing.assert_array_equal(step.reward, [0, 0])
    np.testing.assert_array_equal(step.discount, [1, 1])

    stay = np.zeros(2, np.int32)
    expected: list[tuple[list[int], Any, Any, Any, Any]] = [
        # actions, features, reward, discount, first
        ([0, 0], [[1, 1], [1, 1]], [11, 11], [0.75, 0.75], [False, False]),
        ([0, 0], [[2, 0], [1, 2]], [12, 12], [0.5, 0.75], [True, False]),  # a truncation
        ([0, 1], [[2, 1], [2, 0]], [21, 13], [0.75, 0], [False, True]),  # a termination
        ([1, 1], [[3, 0], [3, 0]], [22, 21], [0, 0], [True, True]),  # also in the first step
        ([0, 0], [[3, 1], [3, 1]], [31, 31], [0.75, 0.75], [False, False]),
    ]
    for actions, features, reward, discount, first in expected:
        step = batch.step(np.array(actions))
        np.testing.assert_array_equal(step.observation.features, features)
        np.testing.assert_array_equal(step.observation.task, [0, 1])
        np.testing.assert_array_equal(step.reward, np.array(reward, np.float32))
        np.testing.assert_array_equal(step.discount, np.array(discount, np.float32))
        np.testing.assert_array_equal(step.first, first)
        np.testing.assert_array_equal(step.episode_end, first)
        assert step.reward.dtype == step.discount.dtype == np.float32
        assert step.first.dtype == step.episode_end.dtype == np.bool_
        assert step.observation.features.dtype == np.float32
        assert step.observation.task.dtype == np.int32

    np.testing.assert_array_equal(batch.reset().observation.features, [[4, 0], [4, 0]])
    np.testing.assert_array_equal(batch.step(stay).observation.features, [[4, 1], [4, 1]])


def test_the_last_observation_of_a_truncated_episode() -> None:
    batch = make_batch(2, 3, 2)
    assert not batch.reset().truncated.any()
    assert not batch.step(np.zeros(3, np.int32)).truncated.any()
    step = batch.step(np.array([0, 1, 0]))  # truncated, terminated, truncated
    np.testing.assert_array_equal(step.first, [True, True, True])
    np.testing.assert_array_equal(step.truncated, [True, False, True])
    assert step.final_features.dtype == np.float32
    np.testing.assert_array_equal(step.final_features[step.truncated], [[1, 2], [1, 2]])
    np.testing.assert_array_equal(step.observation.features, [[2, 0]] * 3)
    later = batch.step(np.ones(3, np.int32))  # all terminated
    assert not later.truncated.any()
    np.testing.assert_array_equal(step.final_features[step.truncated], [[1, 2], [1, 2]])


def test_a_truncated_episodes_last_observation_must_be_as_its_spec_says() -> None:
    class Short(Countdown):
        def step(self, action: Any) -> dm_env.TimeStep:
            timestep = super().step(action)
            return timestep._replace(observation=timestep.observation[:1])

    batch = BatchedDmEnvironments([WithTask(Short(1), 0, 1)])
    with pytest.raises(ValueError, match=r"features are float32 \(1,\), their spec says"):
        batch.step(np.array([0]))


def test_first_reset_gives_the_first_episodes() -> None:
    batch = make_batch(3)
    np.testing.assert_array_equal(batch.reset().observation.features, [[1, 0]])
    np.testing.assert_array_equal(batch.reset().observation.features, [[2, 0]])


def test_later_steps_do_not_overwrite_arrays() -> None:
    batch = make_batch(3)  # Countdown itself overwrites its observation
    first = batch.reset()
    second = batch.step(np.array([0]))
    batch.step(np.array([0]))
    np.testing.assert_array_equal(first.observation.features, [[1, 0]])
    np.testing.assert_array_equal(second.observation.features, [[1, 1]])


def test_close_closes_all() -> None:
    environments = [Countdown(2), Countdown(2)]
    BatchedDmEnvironments([WithTask(e, 0, 1) for e in environments]).close()
    assert all(environment.closed for environment in environments)


@pytest.mark.parametrize(
    "other, message",
    [
        (WithTask(Countdown(2, size=3), 0, 2), r"environment 1 has the features spec .*\(3,\)"),
        (WithTask(Countdown(2), 0, 3), "environment 1 has the task spec .*num_values=3"),
        (WithTask(Countdown(2, dtype=np.int32), 0, 2), "environment 1 has the action spec .*int32"),
    ],
)
def test_differing_specs_are_refused(other: WithTask, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchedDmEnvironments([WithTask(Countdown(2), 0, 2), other])


def test_other_environments_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        BatchedDmEnvironments([])
    with pytest.raises(TypeError, match="WithTask"):
        BatchedDmEnvironments([Countdown(2)])

    class Continuous(Countdown):
        def action_spec(self) -> specs.BoundedArray:
            return specs.BoundedArray((1,), np.float32, 0.0, 1.0)

    with pytest.raises(TypeError, match="must be discrete"):
        BatchedDmEnvironments([WithTask(Continuous(2), 0, 1)])


@pytest.mark.parametrize("actions", [[0], [0, 2], [0, -1], [0.0, 1.0]])
def test_bad_actions_are_refused(actions: list[float]) -> None:
    batch = make_batch(2, 2)
    batch.reset()
    with pytest.raises(ValueError, match="actions must be"):
        batch.step(np.array(actions))


def test_with_task_refuses_what_it_cannot_wrap() -> None:
    with pytest.raises(ValueError, match="task is 2"):
        WithTask(Catch(), 2, 2)
    with pytest.raises(TypeError, match="must be one array"):
        WithTask(WithTask(Catch(), 0, 1), 0, 1)


class DmEnvContractTest(test_utils.EnvironmentTestMixin, absltest.TestCase):
    """dm_env's own interface tests, for a wrapped environment."""

    def make_object_under_test(self) -> WithTask:
        return WithTask(Catch(seed=0), task=1, num_tasks=3)

    def test_observation(self) -> None:
        observation = self.environment.reset().observation
        assert isinstance(observation, Observation)
        assert observation.task == 1
        assert observation.features.shape == (10, 5)
