"""Shows how much a grown column uses earlier ones: `python -m launch_programs.sensitivity`.

Plays tasks of a progressive network's later columns with its newest checkpoint and prints the
Average Fisher Sensitivity of arXiv 1606.04671, section 3, for each layer and column: how strongly
the policy's choices depend on that layer's features in that column.
"""

import sys

import jax
import numpy as np
from absl import flags

from agents.popart_impala.acting import make_policy
from agents.popart_impala.networks.progressive import layer_names, make_sensitivity
from agents.popart_impala.sensitivity import Moments, average_fisher_sensitivity, moments
from agents.popart_impala.types import agent_input
from environments import check_tasks, make_batched_environment, reported
from launch_programs.console import command_line
from launch_programs.console.tables import print_table, screen
from launch_programs.evaluate import load, select_tasks
from launch_programs.run.checkpointing import SavedPolicy
from launch_programs.run.parts import derive_seed, environment_spec, make_run_networks
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory

FLAGS = flags.FLAGS

_ENVIRONMENTS = 8  # stepped together


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_string("logdir", None, "Run directory of a grown network.", required=True)
    flags.DEFINE_string("level_name", None, "Tasks to play; by default those of the newest column.")
    flags.DEFINE_integer("steps", 2_000, "Agent steps to play per task.", lower_bound=1)
    flags.DEFINE_integer("seed", 1, "Seed of games and actions.", lower_bound=0)


def measure(config: RunConfig, policy: SavedPolicy, task: int, steps: int, seed: int) -> np.ndarray:
    """Plays a task and measures the sensitivities.

    Args:
      config: the run.
      policy: its checkpoint.
      task: index of the task.
      steps: agent steps to play, rounded up to a multiple of 8.
      seed: seed of games and actions.

    Returns:
      float64 [num_layers, num_columns], the sensitivity of every layer; NaN for a layer that does
      not matter.
    """
    networks = make_run_networks(config)
    act = make_policy(networks)
    environment = make_batched_environment(
        config.task_list(), [task] * _ENVIRONMENTS, atari=config.atari, seed=derive_seed(seed, task)
    )
    sensitivity = make_sensitivity(
        config.agent,
        features_spec=environment.observation_spec().features,
        num_actions=networks.num_actions,
        num_tasks=networks.num_tasks,
    )
    key = jax.random.PRNGKey(derive_seed(seed, task, 1))
    state = networks.initial_state(_ENVIRONMENTS)
    timestep = environment.reset()
    previous = np.zeros(_ENVIRONMENTS, np.int32)
    sums: list[list[Moments]] | None = None
    for _ in range(-(-steps // _ENVIRONMENTS)):
        observation = timestep.observation
        inputs = agent_input(
            observation.features, observation.task, previous, timestep.reward, timestep.first
        )
        output = act(policy.params, key, inputs, state)
        of_step = jax.tree.map(moments, *sensitivity(policy.params, inputs, state, output.action))
        sums = of_step if sums is None else jax.tree.map(np.add, sums, of_step)
        state, key, previous = output.state, output.key, np.asarray(output.action)
        timestep = environment.step(previous)
    environment.close()
    assert sums is not None
    return np.stack(
        [average_fisher_sensitivity([column.fisher() for column in layer]) for layer in sums]
    )


def main(argv: list[str]) -> None:
    """Entry point."""
    directory = RunDirectory(FLAGS.logdir)
    command_line.set_up_process()
    try:
        command_line.reject_positional_arguments(argv)
        config, policy = load(directory)
        if not config.agent.frozen_columns:
            raise ValueError(
                f"logdir={FLAGS.logdir!r}: has no earlier columns; give a run that was started "
                "with --grow_from"
            )
        tasks = (
            list(config.learned_tasks)
            if FLAGS.level_name is None
            else [play.index for play in select_tasks(config, FLAGS.level_name)]
        )
        check_tasks(config.task_list(), atari=config.atari)
    except (ValueError, OSError) as error:
        command_line.fail(error)
    columns = len(config.agent.frozen_columns) + 1
    headings = ["task", "layer", *(f"column {column}" for column in range(columns))]
    rows = []
    layers = layer_names(environment_spec(config).observations.features)
    for task in tasks:
        try:
            with reported(config.tasks[task]):
                shares = measure(config, policy, task, FLAGS.steps, FLAGS.seed)
        except ValueError as error:
            command_line.fail(error)
        for layer, row in zip(layers, shares, strict=True):
            rows.append([config.tasks[task], layer, *(f"{share:.3f}" for share in row)])
    print(f"Average Fisher sensitivity over {FLAGS.steps} steps per task")
    print_table(screen(sys.stdout), headings, rows, names=["task", "layer"])


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
