"""Tasks, suites of tasks, and the environments that play them.

The Atari classes are in `environments.atari`, the Gymnasium adapter in
`environments.gymnasium_env`. Neither is imported here, so reading tasks and options loads neither
the emulator nor Gymnasium; `make_environment` and `make_batched_environment` do so on demand.
"""

from environments.atari_options import AtariOptions
from environments.batched import BatchedDmEnvironments, WithTask
from environments.factory import (
    check_tasks,
    features_spec,
    make_batched_environment,
    make_environment,
    make_filmed_environment,
    scored_tasks,
    unseen_options,
)
from environments.guarded import EnvironmentFailed, EnvironmentFailure, GuardedEnvironment
from environments.rendering import NoPicture, Renderable, Screen
from environments.task import Task
from environments.tasks import SUITES, TASKS, parse_level_name, sticky_names, suite_name
from environments.toy import Catch
from environments.types import BatchedEnvironment, BatchedTimeStep, Observation, StackedFrames
from environments.user_code import EnvironmentRaised, reported

__all__ = [
    "SUITES",
    "TASKS",
    "AtariOptions",
    "BatchedDmEnvironments",
    "BatchedEnvironment",
    "BatchedTimeStep",
    "Catch",
    "EnvironmentFailed",
    "EnvironmentFailure",
    "EnvironmentRaised",
    "GuardedEnvironment",
    "NoPicture",
    "Observation",
    "Renderable",
    "Screen",
    "StackedFrames",
    "Task",
    "WithTask",
    "check_tasks",
    "features_spec",
    "make_batched_environment",
    "make_environment",
    "make_filmed_environment",
    "parse_level_name",
    "reported",
    "scored_tasks",
    "sticky_names",
    "suite_name",
    "unseen_options",
]
