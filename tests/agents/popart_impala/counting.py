"""An environment that counts: everything it returns identifies the step it belongs to.

Its observations and rewards are known in advance (`timeline`), whatever the actions, so a test can
predict every entry of every unroll.
"""

from typing import Any, NamedTuple

import dm_env
import numpy as np
from dm_env import specs

NUM_ACTIONS = 3

# Episode lengths of environments 0, 1, ..., repeated. Unrolls in the tests have 4 steps, so there
# are episodes of one step, episodes that end where unrolls do, and episodes longer than unrolls.
EPISODE_LENGTHS = ((5, 1, 1, 8), (4,), (13, 2))


class Step(NamedTuple):
    """One agent step of one environment."""

    frame: np.ndarray  # float32 [4]: environment, step, episode, step in the episode; all from 1
    first: bool  # it starts an episode
    last: bool  # its action ends the episode
    reward: float  # for its action
    discount: float  # after its action
    known: bool = True  # whether the successor of its action is observed


def timeline(environment: int, num_steps: int) -> list[Step]:
    """The first `num_steps` agent steps of environment 0, 1 or 2; every second episode is cut off.

    Steps are numbered across episodes. There is no step at an episode's last observation.
    """
    lengths = EPISODE_LENGTHS[environment]
    steps: list[Step] = []
    episode = 0
    while len(steps) < num_steps:
        length = lengths[episode % len(lengths)]
        for t in range(length):
            number = len(steps) + 1
            last = t == length - 1
            steps.append(
                Step(
                    frame=np.array([environment + 1, number, episode + 1, t + 1], np.float32),
                    first=t == 0,
                    last=last,
                    reward=100.0 * (environment + 1) + number,
                    discount=0.0 if last and episode % 2 == 0 else 1.0,
                )
            )
        episode += 1
    return steps[:num_steps]


def stacks(steps: list[Step], size: int) -> np.ndarray:
    """Stacks [len(steps), size, 4] of the newest frames, zero before the episode's start."""
    result = np.zeros((len(steps), size, 4), np.float32)
    for t, step in enumerate(steps):
        age = int(step.frame[3]) - 1
        for back in range(min(age + 1, size)):
            result[t, size - 1 - back] = steps[t - back].frame
    return result


def last_features(step: Step, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the observation after an episode's last step."""
    return np.full(shape, np.sin(step.frame[1]) if step.discount > 0 else np.nan, np.float32)


class CountingEnvironment(dm_env.Environment):
    """Plays `timeline` and records the actions it is given.

    Features are the step's frame or a stack of frames. The observation after an episode's last
    action is `last_features`: all NaN if the episode terminated, because nothing may learn from it.
    """

    def __init__(
        self, environment: int, *, num_steps: int = 1000, features_spec: specs.Array | None = None
    ):
        """Makes environment 0, 1 or 2, for at most `num_steps` steps."""
        self._spec = features_spec or specs.Array((4,), np.float32, "frame")
        self._steps = timeline(environment, num_steps)
        if len(self._spec.shape) == 1:
            self._features = np.stack([step.frame for step in self._steps])
        else:
            self._features = stacks(self._steps, self._spec.shape[0])
        self.actions: list[int] = []

    def reset(self) -> dm_env.TimeStep:
        assert self._steps[len(self.actions)].first, "reset in the middle of an episode"
        return dm_env.restart(self._features[len(self.actions)])

    def step(self, action: Any) -> dm_env.TimeStep:
        step = self._steps[len(self.actions)]
        self.actions.append(int(action))
        if not step.last:
            features = self._features[len(self.actions)]
            return dm_env.transition(step.reward, features, step.discount)
        final = last_features(step, self._spec.shape)
        return dm_env.TimeStep(dm_env.StepType.LAST, step.reward, step.discount, final)

    def observation_spec(self) -> specs.Array:
        return self._spec

    def action_spec(self) -> specs.DiscreteArray:
        return specs.DiscreteArray(NUM_ACTIONS, np.int32, "action")
