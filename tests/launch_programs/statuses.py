"""States of training, without training."""

import dataclasses
from typing import Any

from agents.popart_impala.config import Config
from environments import parse_level_name
from launch_programs.run.metrics import Row
from launch_programs.run.training_status import TrainingStatus
from tests.launch_programs.runs import CONFIG

# When the run of these statuses began; rows are from a second later.
BEGAN = 1_000.0


def make_status(
    level: str, total_frames: int = 200_000_000, since: float = BEGAN
) -> TrainingStatus:
    """A status without any rows, of tasks that need not exist."""
    tasks = tuple(task.name for task in parse_level_name(level))
    agent = Config(network="mlp", total_environment_frames=total_frames)
    per_actor = len(tasks)
    config = dataclasses.replace(CONFIG, tasks=tasks, agent=agent, environments_per_actor=per_actor)
    return TrainingStatus(config, since=since)


def add_episodes(status: TrainingStatus, task: str, *returns: float, frames: int = 0) -> None:
    """Adds training episodes of a task."""
    for value in returns:
        row: Row = {"time": BEGAN + 1, "frames": frames, "task": task, "episode_return": value}
        status.add_episode(row)


def learner_row(**values: Any) -> dict[str, Any]:
    """A row as the learner writes it, except for `values`."""
    return {
        "time": BEGAN + 1,
        "learner_steps": 100,
        "frames": 64_000,
        "frames_per_second": 3_446.4,
        "waiting_share": 0.57,
        "learning_rate": 6e-4,
        "policy_lag_mean": 1.25,
        "policy_lag_max": 3,
        "skipped_updates": 2,
        "baseline_loss": 175.93,
        "entropy": 1.014,
        "entropy_loss": -6.495,
        "loss": 2_214.8,
        "policy_gradient_loss": 45.34,
        "queue_fill": 0.25,
        **values,
    }
