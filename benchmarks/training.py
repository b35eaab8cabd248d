"""One run of `benchmarks.learning`: trains one configuration with one seed, in this process.

The actor and learner are those of the programs. They take turns
(`agents.popart_impala.in_process`), so a run is reproducible: the same seed gives the same numbers.
"""

import dataclasses
import json
import math
import pathlib
import statistics
import sys
from collections.abc import Sequence

import acme
import jax
from acme.utils import loggers

from agents.popart_impala import Actor, InProcessAgent
from agents.popart_impala.acting import make_policy, make_value_function
from agents.popart_impala.networks import progressive
from agents.popart_impala.popart import extend
from agents.popart_impala.training_state import TrainingState
from agents.popart_impala.variables import VariableClient
from benchmarks.comparisons import COMPARISONS, Phase
from environments import TASKS, AtariOptions, Task, make_batched_environment, make_environment
from environments.toy import GAMES
from launch_programs.run.parts import derive_seed

# Points of a learning curve.
BINS = 40

# Episodes for each task that is evaluated after a phase.
EVALUATION_EPISODES = 200


@dataclasses.dataclass(frozen=True)
class PhaseResult:
    """The result of a training phase. Returns are normalised: 0 is random play, 1 the optimum."""

    num_params: int
    frames: list[int]  # at the end of each bin
    # By task, the mean return of the episodes that ended in each bin; None where there were none.
    curves: dict[str, list[float | None]]
    evaluation: dict[str, float]  # by evaluated task, mean return after the phase


class Curves:
    """Bins the returns of training episodes by the frame at which they ended."""

    def __init__(self, tasks: Sequence[Task], task_indices: Sequence[int], total_frames: int):
        """Makes empty curves.

        Args:
          tasks: the run's tasks.
          task_indices: the task of each environment of the batch.
          total_frames: the phase's length.
        """
        self._tasks = tasks
        self._environments = {i: task_indices.count(i) for i in sorted(set(task_indices))}
        self._episodes = dict.fromkeys(self._environments, 0)
        self._total_frames = total_frames
        self._bins: dict[int, list[list[float]]] = {
            i: [[] for _ in range(BINS)] for i in self._environments
        }

    def add(self, task: int, episode_return: float, frames: int) -> None:
        """Adds an episode that ended at this number of frames."""
        game = GAMES[self._tasks[task].name]
        # Games whose scale changes have episodes of fixed length: a task's environments end their
        # n-th episodes together, so each has reached the same scale.
        factor = game.factor_at(self._episodes[task] // self._environments[task])
        self._episodes[task] += 1
        place = min((frames - 1) * BINS // self._total_frames, BINS - 1)
        self._bins[task][place].append(normalised(self._tasks[task], episode_return / factor))

    def means(self) -> dict[str, list[float | None]]:
        """By task, the mean of each bin."""
        return {
            self._tasks[i].name: [round(statistics.fmean(b), 4) if b else None for b in bins]
            for i, bins in self._bins.items()
        }


def normalised(task: Task, episode_return: float) -> float:
    """A return on the scale where random play is 0 and the optimum 1."""
    percent = task.human_normalised(episode_return)
    assert percent is not None  # every toy task has its scores
    return percent / 100


def carry_over(old: TrainingState, new: TrainingState, *, grow: bool) -> TrainingState:
    """The initial state of a phase that follows another.

    Parameters and PopArt statistics are carried over; optimiser and counts start afresh.

    Args:
      old: at the end of the previous phase; its tasks come first in the new phase.
      new: as initialised for the new phase.
      grow: whether the new network is the old progressive one with one more column.
    """
    params = progressive.grow(old.params, new.params) if grow else old.params
    return new._replace(params=params, popart=extend(old.popart, new.popart))


def train_phase(
    phase: Phase, seed: int, before: TrainingState | None
) -> tuple[PhaseResult, TrainingState]:
    """Trains for a phase, then evaluates.

    Args:
      phase: what to train on, and how.
      seed: seeds all randomness.
      before: the state at the end of the previous phase, if there was one.

    Returns:
      The result and the state at the end.
    """
    config = phase.config
    tasks = [TASKS[name] for name in phase.tasks]
    played = [phase.tasks.index(name) for name in phase.played]
    indices = [played[i % len(played)] for i in range(config.batch_size)]
    atari = AtariOptions()  # not read by toy tasks
    environment = make_batched_environment(tasks, indices, atari=atari, seed=derive_seed(seed, 0))
    agent = InProcessAgent(config, environment, jax.random.PRNGKey(derive_seed(seed, 1)))
    learner = agent.learner
    if before is not None:
        learner.restore(carry_over(before, learner.save(), grow=bool(config.frozen_columns)))
    curves = Curves(tasks, indices, config.total_environment_frames)
    while learner.frames < config.total_environment_frames:
        for episode in agent.step():
            curves.add(episode.task, episode.episode_return, learner.frames)
    environment.close()
    evaluation = {
        name: _evaluate(agent, tasks, phase.tasks.index(name)) for name in phase.evaluated
    }
    frames = [math.ceil(config.total_environment_frames * (i + 1) / BINS) for i in range(BINS)]
    result = PhaseResult(agent.networks.num_params, frames, curves.means(), evaluation)
    return result, learner.save()


def _evaluate(agent: InProcessAgent, tasks: Sequence[Task], index: int) -> float:
    """Mean normalised return on one task, with sampled actions.

    The episodes have the same seeds in every run, so an unchanged policy has the same return.
    """
    actor = Actor(
        make_policy(agent.networks),
        make_value_function(agent.networks),
        agent.networks.initial_state(1),
        VariableClient(agent.learner),
        jax.random.PRNGKey(0),
    )
    environment = make_environment(tasks, index, atari=AtariOptions(), seed=0)
    loop = acme.EnvironmentLoop(
        environment, actor, logger=loggers.NoOpLogger(), should_update=False
    )
    returns = [loop.run_episode()["episode_return"] for _ in range(EVALUATION_EPISODES)]
    environment.close()
    return round(normalised(tasks[index], statistics.fmean(map(float, returns))), 4)


def train(phases: Sequence[Phase], seed: int) -> list[PhaseResult]:
    """Trains for all phases of a configuration."""
    results, state = [], None
    for number, phase in enumerate(phases):
        result, state = train_phase(phase, derive_seed(seed, number), state)
        results.append(result)
    return results


def main(arguments: list[str]) -> None:
    """Trains; writes the phases' results to a file, as JSON."""
    name, configuration, seed, frames, output = arguments
    comparison = COMPARISONS[name]()
    if int(frames):  # otherwise the comparison's own
        comparison = comparison.with_frames(int(frames))
    results = train(comparison.configurations[configuration], int(seed))
    pathlib.Path(output).write_text(json.dumps([dataclasses.asdict(r) for r in results]))


if __name__ == "__main__":
    main(sys.argv[1:])
