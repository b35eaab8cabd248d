"""Everything that defines a run, as one value, which is written to the run directory."""

import dataclasses
import math
import os
from collections.abc import Collection
from typing import Any

from agents.popart_impala.config import Config
from agents.popart_impala.network_config import settings_from_json
from agents.popart_impala.setting import setting
from environments import AtariOptions, Task, parse_level_name, scored_tasks

# Settings that may change when a run is resumed: they affect neither the data learned from nor how
# it is learned from.
CHANGEABLE = frozenset(
    {
        "agent.total_environment_frames",
        "agent.queue_size",
        "num_actors",
        "environments_per_actor",
        "num_queues",
        "evaluation_interval",
        "evaluation_max_frames",
        "checkpoint_interval",
        "keep_interval",
        "log_interval",
        "pause_at_frames",
        "environment_deadline",
        "max_environment_failures",
    }
)

# Default number of environments that one actor steps together: enough to make the forward pass
# cheap per environment, few enough to keep unrolls fresh.
_ENVIRONMENTS_PER_ACTOR = 16


# Limit on the frames of an evaluation episode, if neither the user nor the environment sets one:
# Atari's half hour.
_EVALUATION_MAX_FRAMES = 108_000


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """A run's settings; checked on construction.

    Raises:
      ValueError: a field is out of range; the message names the field, its value and what is
        accepted.
    """

    tasks: tuple[str, ...]  # names; their order gives the task indices
    agent: Config
    atari: AtariOptions
    num_actors: int = setting(
        dataclasses.MISSING,
        "Actor processes; by default one for each CPU core.",
    )
    environments_per_actor: int = setting(
        dataclasses.MISSING,
        "Environments that one actor steps together; times the actors, a multiple of the number "
        "of tasks. By default about 16.",
    )
    grow_from: str | None = setting(
        None,
        "Run directory of a progressive network: keeps its columns, frozen, and adds one that "
        "learns the tasks of --level_name.",
    )
    num_queues: int = setting(
        0,
        "Reverb servers, each in its own process, that share the actors' unrolls; 0 for one in "
        "the learner's process. docs/performance.md says when several help.",
    )
    seed: int = setting(1, "Seed of parameters, games and actions.")
    evaluation_interval: int = setting(
        1_000_000,
        "Environment frames between the evaluator's rounds of one episode per task; 0 for none.",
    )
    evaluation_max_frames: int | None = setting(
        None,
        "Environment frames after which an episode of an evaluation is cut off; by default "
        "108,000, for Atari --max_frames_per_episode.",
    )
    checkpoint_interval: float = setting(60.0, "Seconds between checkpoints.")
    keep_interval: int = setting(
        0,
        "Environment frames between checkpoints that are kept for good, beside the three newest "
        "ones; 0 keeps none. `evaluate --all_checkpoints` plays them all.",
    )
    log_interval: float = setting(
        10.0,
        "Seconds between rows of learner.csv and between lines of progress.log.",
    )
    environment_deadline: float = setting(
        300.0,
        "Seconds after which an actor's environments that do not answer are recreated.",
    )
    max_environment_failures: int = setting(
        5,
        "Consecutive failures of an actor's environments (an exception, no answer, a number that "
        "is not finite, an array of another shape) after which the program ends; until then "
        "they are recreated.",
    )
    # Environment frames at which the program ends before its schedule does, to be resumed by a
    # program that compares runs (launch_programs/tune.py); None for the schedule's end.
    pause_at_frames: int | None = None

    def __post_init__(self) -> None:
        for name, least in (
            ("num_actors", 1),
            ("environments_per_actor", 1),
            ("num_queues", 0),
            ("seed", 0),
            ("evaluation_interval", 0),
            ("keep_interval", 0),
            ("max_environment_failures", 1),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least {least}")
        if self.evaluation_max_frames is not None and self.evaluation_max_frames < 1:
            raise ValueError(
                f"evaluation_max_frames={self.evaluation_max_frames}: must be at least 1, or left "
                "out"
            )
        if self.num_queues > self.num_actors:
            raise ValueError(
                f"num_queues={self.num_queues}: must be at most num_actors={self.num_actors}, "
                "since each actor writes to one queue"
            )
        if self.seed >= 2**63:
            raise ValueError(f"seed={self.seed}: must be less than 2**63")
        for name in ("checkpoint_interval", "log_interval", "environment_deadline"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name}={getattr(self, name)}: must be more than 0 seconds, and finite"
                )
        if not self.tasks:
            raise ValueError("tasks=(): must be at least one task")
        num_tasks = len(self.learned_tasks)
        if num_tasks < 1:
            raise ValueError(
                f"tasks={self.tasks}: must be more than the {sum(self.agent.frozen_columns)} of "
                "the frozen columns"
            )
        if self.num_actors * self.environments_per_actor % num_tasks:
            raise ValueError(
                f"num_actors={self.num_actors} times environments_per_actor="
                f"{self.environments_per_actor} must be a multiple of the {num_tasks} tasks, so "
                f"that each gets the same share; environments_per_actor="
                f"{default_environments_per_actor(num_tasks)} makes it one"
            )

    def task_list(self) -> tuple[Task, ...]:
        """The tasks named in `tasks`."""
        return scored_tasks(parse_level_name(",".join(self.tasks)), atari=self.atari)

    @property
    def last_frame(self) -> int:
        """Environment frames at which the program ends."""
        total = self.agent.total_environment_frames
        return total if self.pause_at_frames is None else min(total, self.pause_at_frames)

    @property
    def evaluation_limit(self) -> int:
        """Environment frames after which an evaluation episode is cut off."""
        if self.evaluation_max_frames is not None:
            return self.evaluation_max_frames
        if self.task_list()[0].domain == "atari":
            return self.atari.max_frames_per_episode
        return _EVALUATION_MAX_FRAMES

    @property
    def keep_learner_steps(self) -> int | None:
        """`keep_interval` in learner steps; None if no checkpoint is kept for good."""
        if not self.keep_interval:
            return None
        return max(1, self.keep_interval // self.agent.frames_per_update)

    @property
    def learned_tasks(self) -> range:
        """Indices of the tasks to learn: all except those of frozen columns."""
        return range(sum(self.agent.frozen_columns), len(self.tasks))

    def task_indices(self, actor: int) -> list[int]:
        """Task index of each environment of an actor, round-robin over all actors' environments."""
        begin = actor * self.environments_per_actor
        learned = self.learned_tasks
        return [
            learned[i % len(learned)] for i in range(begin, begin + self.environments_per_actor)
        ]

    @property
    def cores_per_actor(self) -> int:
        """This machine's cores, divided among the actors; at least 1."""
        return max(1, len(os.sched_getaffinity(0)) // self.num_actors)

    def to_json(self) -> dict[str, Any]:
        """As nested dicts, lists and scalars."""
        values = {**dataclasses.asdict(self), "tasks": list(self.tasks)}
        values["agent"]["frozen_columns"] = list(self.agent.frozen_columns)
        return values


def from_json(values: dict[str, Any]) -> RunConfig:
    """The run described by `RunConfig.to_json`.

    Raises:
      ValueError: a field is missing, unknown or out of range.
    """
    try:
        return RunConfig(
            **{
                **values,
                "tasks": tuple(values["tasks"]),
                "agent": Config(**settings_from_json(values["agent"])),
                "atari": AtariOptions(**values["atari"]),
            }
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a configuration of this version: {error}") from error


def flatten(config: RunConfig) -> dict[str, Any]:
    """Maps fields to values, with "agent." or "atari." before the names of nested fields."""
    flat: dict[str, Any] = {}
    for name, value in config.to_json().items():
        if isinstance(value, dict):
            flat.update({f"{name}.{key}": v for key, v in value.items()})
        else:
            flat[name] = value
    return flat


def contradictions(
    saved: RunConfig, wanted: RunConfig, changeable: Collection[str] = CHANGEABLE
) -> list[str]:
    """Describes the fields that `wanted` would change although a resumed run must keep them.

    Args:
      saved: the run's own settings.
      wanted: the settings asked for.
      changeable: fields that may differ.
    """
    old, new = flatten(saved), flatten(wanted)
    return [
        f"{name.split('.')[-1]} is {old[name]!r} in the run, not {new[name]!r}"
        for name in old
        if old[name] != new[name] and name not in changeable
    ]


def default_num_actors() -> int:
    """One actor process for each CPU core that this process may use."""
    return len(os.sched_getaffinity(0))


def default_environments_per_actor(num_tasks: int) -> int:
    """A multiple of the number of tasks, about 16."""
    return num_tasks * max(1, round(_ENVIRONMENTS_PER_ACTOR / num_tasks))
