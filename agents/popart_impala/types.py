"""The arrays sent from actor to learner, and the time convention used throughout.

At time t an actor holds the network's input (`AgentInput`): observation o_t, the preceding action
a_{t-1} and reward r_t, and whether o_t starts an episode. It takes action a_t and receives reward
r_{t+1} and discount gamma_{t+1} (0 if the episode terminated, else 1). So

    time index       0      1      2    ...   T-1      T
    inputs          o_0    o_1    o_2   ...  o_{T-1}  o_T        T+1 entries
    action          a_0    a_1    a_2   ...  a_{T-1}             T entries
    reward          r_1    r_2    r_3   ...   r_T
    discount       g_1    g_2    g_3    ...   g_T

The last input of an unroll is the first of the next. Episodes may end anywhere in an unroll;
o_{t+1} is then the next episode's first observation (`first` is true), never the finished episode's
last one.

A step at which a time limit cuts an episode off has discount 0, as at a termination, and its
`truncation_value` holds the bootstrap value of the last observation. The actor computes it, as only
the actor sees that observation. A step with `first[t+1]` and a discount above 0 was cut off with an
unknown successor, for example because an environment failed; the loss leaves it out.

Shapes below are for one unroll. Batches are [B, T, ...] from the queue and [T, B, ...] in the loss.
"""

from typing import Any, NamedTuple

import numpy as np

Array = Any  # a numpy.ndarray or a jax.Array
Params = Any  # Haiku's nested dict of arrays
RecurrentState = Any  # a tree of arrays, () for a feed-forward network


class AgentInput(NamedTuple):
    """The network's input at one time step; leading axes [T+1], [B] or [T+1, B]."""

    features: Array  # [..., *features_shape], the environment's dtype
    task: Array  # int32 [...], index of the task
    previous_action: Array  # int32 [...], a_{t-1}; 0 where `first`
    previous_reward: Array  # float32 [...], r_t, unclipped; 0 where `first`
    first: Array  # bool [...], o_t starts an episode


def agent_input(
    features: Array, task: Array, action: Array, reward: Array, first: Array
) -> AgentInput:
    """Builds the network's input for N environments, with nothing carried across episodes.

    Args:
      features: [N, *features_shape].
      task: int [N].
      action: int [N], the last action; any value where `first`.
      reward: [N], the last action's reward; any value where `first`.
      first: bool [N].

    Returns:
      NumPy arrays; `features` is passed through.
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

    `inputs.features` has T+1 entries or, if features are stacks of S frames
    (`environments.StackedFrames`), the [S-1+T+1, ...] frames of these stacks, each sent once.
    """

    inputs: AgentInput  # [T+1, ...]; `task` is a scalar []
    action: Array  # int32 [T], a_t
    reward: Array  # float32 [T], r_{t+1}, unclipped
    discount: Array  # float32 [T], 0 where the episode terminated or was truncated, else 1
    behaviour_logits: Array  # float32 [T, num_actions], of the policy that chose a_t
    initial_state: RecurrentState  # the recurrent state before o_0
    params_step: Array  # int32 [], learner step of the parameters that chose a_0
    # float32 [T], where a time limit cut the episode off: the environment's discount times the
    # unnormalised V of the last observation, from the parameters that chose a_t; 0 elsewhere. None:
    # no limits
    truncation_value: Array = None


class PolicyVariables(NamedTuple):
    """What the learner publishes to actors. A task's value is sigma n + mu for its output n."""

    step: int  # learner step that made the parameters
    params: Params
    mu: Array = 0.0  # float32 [num_tasks], PopArt's mean of each task's values
    sigma: Array = 1.0  # float32 [num_tasks], their scale; the defaults leave values unnormalised
