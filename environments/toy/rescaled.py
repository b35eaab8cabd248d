"""A task whose reward scale changes while an agent learns it."""

from typing import Any

import dm_env

from environments.rendering import action_names


class Rescaled(dm_env.Environment):
    """Any environment, with rewards multiplied by `factor` from a certain episode on.

    The optimum and the random policy's expected return are the wrapped environment's, multiplied by
    `factor` from that episode on. Each environment counts its own episodes, even abandoned ones.
    """

    def __init__(self, environment: dm_env.Environment, *, factor: float, episodes: int):
        """Wraps an environment.

        Args:
          environment: the environment to wrap.
          factor: multiplies the later rewards; positive.
          episodes: how many episodes keep the environment's own rewards, at least 0.

        Raises:
          ValueError: if an argument is out of range.
        """
        if not factor > 0:
            raise ValueError(f"factor is {factor}; it must be positive")
        if episodes < 0:
            raise ValueError(f"episodes is {episodes}; it must be at least 0")
        self._environment = environment
        self.action_names = action_names(environment)
        self._factor = factor
        self._episodes = episodes
        self._started = 0

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode."""
        return self._rescaled(self._environment.reset())

    def step(self, action: Any) -> dm_env.TimeStep:
        """Takes one step."""
        return self._rescaled(self._environment.step(action))

    def observation_spec(self) -> Any:
        """The environment's own."""
        return self._environment.observation_spec()

    def action_spec(self) -> Any:
        """The environment's own."""
        return self._environment.action_spec()

    def close(self) -> None:
        """Closes the environment."""
        self._environment.close()

    def _rescaled(self, timestep: dm_env.TimeStep) -> dm_env.TimeStep:
        if timestep.first():
            self._started += 1
            return timestep
        if self._started <= self._episodes:
            return timestep
        return timestep._replace(reward=timestep.reward * self._factor)
