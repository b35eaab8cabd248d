"""Plays one of a run's tasks in Acme's EnvironmentLoop."""

import dataclasses
from collections.abc import Callable, Sequence

import acme
import dm_env
import jax
import numpy as np
from acme import core
from acme.utils import loggers, observers

from agents.popart_impala import Config, popart
from agents.popart_impala.acme_actor import Actor
from agents.popart_impala.acting import EpisodeResult, make_policy, make_value_function
from agents.popart_impala.networks import Networks
from agents.popart_impala.types import PolicyVariables
from agents.popart_impala.variables import VariableClient
from environments import Screen, Task, make_environment, make_filmed_environment, reported
from launch_programs.nodes.stopping import ProgramStopped
from launch_programs.run.checkpointing import SavedPolicy
from launch_programs.run.parts import derive_seed
from launch_programs.run.run_config import RunConfig


class FixedVariables(core.VariableSource):
    """An Acme variable source that serves a checkpoint's parameters."""

    def __init__(self, policy: SavedPolicy, config: Config):
        """Serves `policy`, from an agent with the settings `config`."""
        scale = popart.configured_scale(policy.popart, config)
        self._variables = PolicyVariables(policy.steps, policy.params, scale.mu, scale.sigma)

    def get_variables(self, names: Sequence[str]) -> list[PolicyVariables]:
        """The policy, for each name."""
        return [self._variables for _ in names]


class _Bounded(dm_env.Environment):
    """Ends episodes that take too long, lets a stop request end one, and names the task in errors.

    Attributes:
      cut_off: whether the last episode was cut off for its length.
    """

    def __init__(
        self,
        environment: dm_env.Environment,
        task: Task,
        max_frames: int,
        should_stop: Callable[[], bool],
    ):
        self.cut_off = False
        self._environment = environment
        self._task = task
        self._max_frames = max_frames
        self._should_stop = should_stop
        self._frames = 0

    def reset(self) -> dm_env.TimeStep:
        self.cut_off = False
        self._frames = 0
        with reported(self._task.name):
            return self._environment.reset()

    def step(self, action: object) -> dm_env.TimeStep:
        if self._should_stop():
            raise ProgramStopped
        with reported(self._task.name):
            timestep = self._environment.step(action)
        self._frames += self._task.action_repeat
        self.cut_off = self._frames >= self._max_frames and not timestep.last()
        return timestep._replace(step_type=dm_env.StepType.LAST) if self.cut_off else timestep

    def observation_spec(self) -> object:
        return self._environment.observation_spec()

    def action_spec(self) -> object:
        return self._environment.action_spec()

    def reward_spec(self) -> object:
        return self._environment.reward_spec()

    def discount_spec(self) -> object:
        return self._environment.discount_spec()

    def close(self) -> None:
        self._environment.close()


class _AttentionMeter(observers.EnvLoopObserver):
    """Averages the actor's attention weights over steps."""

    def __init__(self, actor: Actor):
        self._actor = actor
        self._steps = 0
        self._sum: np.ndarray | None = None

    @property
    def mean(self) -> list[float] | None:
        return None if self._sum is None else (self._sum / self._steps).tolist()

    def observe_first(self, env: dm_env.Environment, timestep: dm_env.TimeStep) -> None:
        pass

    def observe(
        self, env: dm_env.Environment, timestep: dm_env.TimeStep, action: np.ndarray
    ) -> None:
        step = self._actor.last_step
        assert step is not None  # because an action was chosen
        if step.attention is not None:
            weights = np.asarray(step.attention[0], np.float64)
            self._sum = weights + (0.0 if self._sum is None else self._sum)
            self._steps += 1

    def get_metrics(self) -> dict[str, float]:
        return {}


class TaskPlayer:
    """One task of a run and an actor for it, in an EnvironmentLoop.

    Attributes:
      actor: the actor that plays; its last step includes values.
      screen: the environment as people see it; None unless it is filmed.
    """

    def __init__(
        self,
        config: RunConfig,
        networks: Networks,
        task: int,
        variable_source: core.VariableSource,
        *,
        greedy: bool,
        seed: int,
        should_stop: Callable[[], bool] = lambda: False,
        filmed: bool = False,
        max_frames: int | None = None,
    ):
        """Creates the environment and the actor.

        Args:
          config: the run.
          networks: the run's network.
          task: index into the run's tasks.
          variable_source: source of the parameters, queried before every episode.
          greedy: takes the likeliest actions instead of sampling.
          seed: seed of environment and actions.
          should_stop: checked at every step; once true, `play` raises `ProgramStopped`.
          filmed: gives the environment a `screen`. This does not change the episodes.
          max_frames: environment frames after which an episode is cut off; None for the run's own
            `evaluation_limit`.
        """
        self._task = task
        self.screen: Screen | None = None
        # Scores are for whole games, even if training ended episodes at the loss of a life.
        atari = dataclasses.replace(config.atari, life_loss=False)
        tasks, environment_seed = config.task_list(), derive_seed(seed, task)
        if filmed:
            environment, self.screen = make_filmed_environment(
                tasks, task, atari=atari, seed=environment_seed
            )
        else:
            environment = make_environment(tasks, task, atari=atari, seed=environment_seed)
        self._environment = _Bounded(
            environment, tasks[task], max_frames or config.evaluation_limit, should_stop
        )
        # Always computes values, so that filmed episodes use the same compiled program.
        self.actor = Actor(
            make_policy(networks, greedy=greedy, values=True),
            make_value_function(networks),
            networks.initial_state(1),
            VariableClient(variable_source),
            jax.random.PRNGKey(derive_seed(seed, task, 1)),
        )
        self._attention = _AttentionMeter(self.actor)

    def play(self, *more_observers: observers.EnvLoopObserver) -> EpisodeResult:
        """Plays one episode with the newest parameters.

        Args:
          more_observers: additional observers of the episode.

        Raises:
          ProgramStopped: the program is to stop.
        """
        self.actor.update(wait=True)
        result = acme.EnvironmentLoop(
            self._environment,
            self.actor,
            logger=loggers.NoOpLogger(),
            should_update=False,
            observers=[self._attention, *more_observers],
        ).run_episode()
        return EpisodeResult(
            self._task, float(result["episode_return"]), int(result["episode_length"])
        )

    @property
    def cut_off(self) -> bool:
        """Whether the last episode was cut off; its return then covers only what was played."""
        return self._environment.cut_off

    @property
    def mean_attention(self) -> list[float] | None:
        """Mean attention per sub-network over all steps; None if the network has no attention."""
        return self._attention.mean

    def close(self) -> None:
        """Closes the environment."""
        self._environment.close()
