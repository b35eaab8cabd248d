"""A run's metrics as scalars for TensorBoard and Weights & Biases, under commonly used names."""

import re
import statistics
from collections.abc import Mapping
from typing import NamedTuple

from launch_programs.run.run_config import RunConfig

# Tags of the columns of learner.csv that are not "learner/COLUMN": CleanRL's names, where it has
# one.
_LEARNER = {
    "frames_per_second": "charts/FPS",
    "learning_rate": "charts/learning_rate",
    "loss": "losses/total_loss",
    "policy_gradient_loss": "losses/policy_loss",
    "baseline_loss": "losses/value_loss",
    "entropy": "losses/entropy",
    "entropy_loss": "losses/entropy_loss",
}

# Columns of learner.csv with a value for each task: NAME/TASK.
_PER_TASK = (
    (re.compile(r"(mu|sigma)/(.+)"), r"popart/\1/\2"),
    (re.compile(r"attention_(\d+)/(.+)"), r"attention/subnet_\1/\2"),
)


class Scalars(NamedTuple):
    """Values at one moment."""

    frames: int  # consumed by the learner
    values: dict[str, float]  # by tag


class ScalarStream:
    """Turns rows of the run's tables into scalars.

    Episodes are averaged, since toy tasks finish thousands a second: `charts/episodic_return/TASK`
    is the mean over a task's training episodes since the learner's last row.
    """

    def __init__(self, config: RunConfig):
        self._action_repeat = config.agent.action_repeat
        self._tasks = {task.name: task for task in config.task_list()}
        self._episodes: dict[str, list[tuple[float, float]]] = {}  # return, length

    def add(self, table: str, row: Mapping[str, str | int | float]) -> Scalars | None:
        """Takes a row; returns the scalars that it completes, if any.

        Args:
          table: "learner", "actors" or "evaluator".
          row: row of the table, with its `frames`; numbers may be strings, as in the file.
        """
        if table == "actors":
            episode = (float(row["episode_return"]), float(row["episode_length"]))
            self._episodes.setdefault(str(row["task"]), []).append(episode)
            return None
        frames = int(row["frames"])
        if table == "evaluator":
            task, episode_return = str(row["task"]), float(row["episode_return"])
            return Scalars(frames, self._scores("evaluation", task, episode_return))
        values = {
            _learner_tag(column): float(value)
            for column, value in row.items()
            if column not in ("time", "frames")
        }
        values["charts/SPS"] = float(row["frames_per_second"]) / self._action_repeat
        for task, episodes in self._episodes.items():
            values.update(self._scores("charts", task, statistics.fmean(r for r, _ in episodes)))
            values[f"charts/episodic_length/{task}"] = statistics.fmean(n for _, n in episodes)
        self._episodes.clear()
        return Scalars(frames, values)

    def _scores(self, group: str, task: str, episode_return: float) -> dict[str, float]:
        scores = {f"{group}/episodic_return/{task}": episode_return}
        normalised = self._tasks[task].human_normalised(episode_return)
        if normalised is not None:
            scores[f"{group}/human_normalised_percent/{task}"] = normalised
        return scores


def _learner_tag(column: str) -> str:
    for pattern, tag in _PER_TASK:
        if pattern.fullmatch(column):
            return pattern.sub(tag, column)
    return _LEARNER.get(column, f"learner/{column}")
