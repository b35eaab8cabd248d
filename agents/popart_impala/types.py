"""The arrays that travel from actor to learner, and the one convention for time.

At time t an actor holds what the network is shown (`AgentInput`): observation o_t, the action
a_{t-1} and the reward r_t that led to it, and whether o_t starts an episode. It takes action a_t
and receives reward r_{t+1} and discount gamma_{t+1} (0 if the episode terminated, else 1). So

    time index       0      1      2    ...   T-1      T
    inputs          o_0    o_1    o_2   ...  o_{T-1}  o_T        T+1 entries
    action          a_0    a_1    a_2   ...  a_{T-1}             T entries
    reward          r_1    r_2    r_3   ...   r_T
    discount       g_1    g_2    g_3    ...   g_T

The last input of an unroll is the first of the next. Episodes may end anywhere: there o_{t+1} is
the next episode's first observation (`first` is true), never the finished episode's last one.

A step at which a time limit cuts an episode off has the discount 0, as at a termination, and what
was still to come in `truncation_value`: the actor, which alone sees the last observation, computes
its value. A step with `first[t+1]` and a discount above 0 was cut off and its successor is unknown,
as where an environment failed: the loss leaves it out.

Shapes below are one unroll's. In a batch they are [B, T, ...] from the queue and [T, B, ...] in
the loss.
"""

from typing import Any, NamedTuple

import numpy as np

Array = Any  # a numpy.ndarray or a jax.Array
Params = Any  # Haiku's nested dict of arrays
RecurrentState = Any  # a tree of arrays, () for a feed-forward network


class AgentInput(NamedTuple):
    """What the network is shown at one time step; leading axes [T+1], [B] or [T+1, B]."""

    features: Array  # [..., *features_shape], the environment's dtype
    task: Array  # int32 [...], index of the task
    previous_action: Array  # int32 [...], a_{t-1}; 0 where `first`
    previous_reward: Array  # float32 [...], r_t, unclipped; 0 where `first`
    first: Array  # bool [...], o_t starts an episode


def agent_input(
    features: Array, task: Array, action: Array, reward: Array, first: Array
) -> AgentInput:
    """What the network is shown of N environments: nothing of what came before an episode.

    Args:
      features: [N, *features_shape].
      task: int [N].
      action: int [N], the last one; of any value where `first`.
      reward: [N], of the last action; of any value where `first`.
      first: bool [N].

    Returns:
      NumPy arrays; `features` is the one that was given.
    """
    first = np.asarray(first)
    return AgentInput(
        features=features,
        task=np.asarray(task, np.int32),
        previous_action=np.where(first, np.int32(0), np.asarray(action, np.int32)),
        previous_reward=np.where(first, np.float32(0), np.asarray(reward, np.float32)),
        first=first,
    )


class Unroll(NamedTuple):
    """T consecutive agent steps of one environment: one item of the queue.

    `inputs.features` has T+1 entries, or, for features that are stacks of S frames
    (`environments.StackedFrames`), the [S-1+T+1, ...] frames they are made of, each sent once.
    """

    inputs: AgentInput  # [T+1, ...]; `task` is a scalar []
    action: Array  # int32 [T], a_t
    reward: Array  # float32 [T], r_{t+1}, unclipped
    discount: Array  # float32 [T], 0 where the episode terminated or was truncated, else 1
    behaviour_logits: Array  # float32 [T, num_actions], of the policy that chose a_t
    initial_state: RecurrentState  # the recurrent state before o_0
    params_step: Array  # int32 [], learner step of the parameters that chose a_0
    # float32 [T], where a time limit cut the episode off: the environment's discount times V of its
    # last observation, unnormalised, by the parameters that chose a_t; 0 elsewhere. None: no limits
    truncation_value: Array = None


class PolicyVariables(NamedTuple):
    """What the learner publishes for actors. A task's value is sigma n + mu of its output n."""

    step: int  # learner step that made the parameters
    params: Params
    mu: Array = 0.0  # float32 [num_tasks], PopArt's mean of each task's values
    sigma: Array = 1.0  # float32 [num_tasks], and their scale; plain values without both
