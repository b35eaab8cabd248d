"""The settings that define a run."""

import collections
import dataclasses
import json
import os
from typing import Any

import pytest

from environments import SUITES
from launch_programs.run import run_config
from launch_programs.run.run_config import RunConfig, contradictions, from_json
from tests.launch_programs.runs import CONFIG

# For every setting, a value other than CONFIG's, and whether a resumed run may change to it.
OTHER_VALUES: dict[str, tuple[Any, bool]] = {
    "tasks": (("seaquest", "pong"), False),
    "grow_from": ("runs/earlier", False),
    "num_actors": (3, True),
    "environments_per_actor": (6, True),
    "num_queues": (2, True),
    "seed": (2, False),
    "evaluation_interval": (0, True),
    "evaluation_max_frames": (500, True),
    "checkpoint_interval": (1.0, True),
    "keep_interval": (1_000, True),
    "log_interval": (1.0, True),
    "pause_at_frames": (500, True),
    "environment_deadline": (1.0, True),
    "max_environment_failures": (1, True),
    "agent.network": ("mlp", False),
    "agent.use_lstm": (True, False),
    "agent.hidden_size": (128, False),
    "agent.normalise_images": (False, False),
    "agent.task_input": (True, False),
    "agent.subnets": (3, False),
    "agent.use_gap": (True, False),
    "agent.use_separate_attn_net": (True, False),
    "agent.frozen_columns": ((1,), False),
    "agent.unroll_length": (10, False),
    "agent.batch_size": (16, False),
    "agent.queue_size": (64, True),
    "agent.action_repeat": (1, False),
    "agent.discounting": (0.9, False),
    "agent.baseline_cost": (0.25, False),
    "agent.entropy_cost": (0.02, False),
    "agent.reward_clipping": ("abs_one", False),
    "agent.loss_reduction": ("sum", False),
    "agent.vtrace_lambda": (1.0, False),
    "agent.standardise_advantages": (False, False),
    "agent.ratio_clip": (None, False),
    "agent.passes": (1, False),
    "agent.minibatches": (2, False),
    "agent.optimiser": ("rmsprop", False),
    "agent.popart": (False, False),
    "agent.popart_step_size": (1e-3, False),
    "agent.popart_scale_min": (1e-2, False),
    "agent.popart_scale_max": (1e3, False),
    "agent.learning_rate": (1e-2, False),
    "agent.warmup_updates": (7, False),
    "agent.total_environment_frames": (1_000, True),
    "agent.rmsprop_decay": (0.9, False),
    "agent.rmsprop_epsilon": (0.1, False),
    "agent.gradient_clipping": (1.0, False),
    "atari.action_set": ("minimal", False),
    "atari.repeat_action_probability": (0.25, False),
    "atari.noop_max": (0, False),
    "atari.max_frames_per_episode": (18_000, False),
    "atari.life_loss": (True, False),
    "atari.distribution_mode": ("hard", False),
    "atari.num_levels": (500, False),
    "atari.start_level": (100, False),
}


def changed(field: str, value: Any) -> RunConfig:
    """CONFIG with one field replaced, either its own or that of a part."""
    if "." not in field:
        return dataclasses.replace(CONFIG, **{field: value})
    part, name = field.split(".")
    changed_part = dataclasses.replace(getattr(CONFIG, part), **{name: value})
    return dataclasses.replace(CONFIG, **{part: changed_part})


def test_every_setting_is_considered_here() -> None:
    assert set(OTHER_VALUES) == set(run_config.flatten(CONFIG))


@pytest.mark.parametrize("field", OTHER_VALUES)
def test_a_resumed_run_may_differ_only_in_what_does_not_change_learning(field: str) -> None:
    value, changeable = OTHER_VALUES[field]
    config = changed(field, value)
    assert config != CONFIG
    differences = contradictions(CONFIG, config)
    if changeable:
        assert differences == []
    else:
        name = field.split(".")[-1]
        old, new = run_config.flatten(CONFIG)[field], run_config.flatten(config)[field]
        assert differences == [f"{name} is {old!r} in the run, not {new!r}"]


def test_all_contradictions_are_told_in_one_go() -> None:
    config = dataclasses.replace(changed("agent.popart", False), seed=7, num_actors=1)
    assert contradictions(CONFIG, config) == [
        "popart is True in the run, not False",
        "seed is 1 in the run, not 7",
    ]
    assert contradictions(CONFIG, CONFIG) == []


@pytest.mark.parametrize("field", OTHER_VALUES)
def test_json_round_trip(field: str) -> None:
    config = changed(field, OTHER_VALUES[field][0])
    assert from_json(json.loads(json.dumps(config.to_json()))) == config


def test_json_of_another_version_is_refused() -> None:
    values = CONFIG.to_json()
    with pytest.raises(ValueError, match="not a configuration of this version.*color"):
        from_json({**values, "color": "red"})
    with pytest.raises(ValueError, match="not a configuration of this version.*color"):
        from_json({**values, "agent": {**values["agent"], "color": "red"}})
    for missing in ("num_actors", "tasks", "agent", "atari"):
        rest = {name: value for name, value in values.items() if name != missing}
        with pytest.raises(ValueError, match=f"not a configuration of this version.*{missing}"):
            from_json(rest)
    with pytest.raises(ValueError, match="^num_actors=0: must be at least 1"):
        from_json({**values, "num_actors": 0})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_actors", 0, "num_actors=0: must be at least 1"),
        ("num_actors", -2, "num_actors=-2: must be at least 1"),
        ("environments_per_actor", 0, "environments_per_actor=0: must be at least 1"),
        ("num_queues", -1, "num_queues=-1: must be at least 0"),
        (
            "num_queues",
            3,
            "num_queues=3: must be at most num_actors=2, since each actor writes to one queue",
        ),
        ("seed", -1, "seed=-1: must be at least 0"),
        ("seed", 2**63, "seed=9223372036854775808: must be less than 2**63"),
        ("evaluation_interval", -1, "evaluation_interval=-1: must be at least 0"),
        (
            "checkpoint_interval",
            0.0,
            "checkpoint_interval=0.0: must be more than 0 seconds, and finite",
        ),
        (
            "checkpoint_interval",
            float("nan"),
            "checkpoint_interval=nan: must be more than 0 seconds, and finite",
        ),
        ("log_interval", -0.5, "log_interval=-0.5: must be more than 0 seconds, and finite"),
        (
            "environment_deadline",
            float("inf"),
            "environment_deadline=inf: must be more than 0 seconds, and finite",
        ),
        ("max_environment_failures", 0, "max_environment_failures=0: must be at least 1"),
        ("tasks", (), "tasks=(): must be at least one task"),
        (
            "tasks",
            ("pong", "seaquest", "breakout"),
            "num_actors=2 times environments_per_actor=4 must be a multiple of the 3 tasks, so "
            "that each gets the same share; environments_per_actor=15 makes it one",
        ),
    ],
)
def test_values_out_of_range_are_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:
        dataclasses.replace(CONFIG, **{field: value})
    assert str(error.value) == message


def test_the_limits_themselves_are_accepted() -> None:
    dataclasses.replace(
        CONFIG, num_actors=1, environments_per_actor=2, seed=2**63 - 1, evaluation_interval=0
    )


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 5, 7, 57])
def test_environments_spread_evenly_over_tasks(num_tasks: int) -> None:
    tasks = SUITES["atari57"][:num_tasks]
    tried = 0
    for num_actors in (1, 2, 3, 4, 7, 19):
        for per_actor in (1, 2, 3, 5, 6, 15, 19, 57):
            if num_actors * per_actor % num_tasks:
                with pytest.raises(ValueError, match=f"a multiple of the {num_tasks} tasks"):
                    run(tasks, num_actors, per_actor)
                continue
            tried += 1
            config = run(tasks, num_actors, per_actor)
            total: collections.Counter[int] = collections.Counter()
            for actor in range(num_actors):
                indices = config.task_indices(actor)
                assert len(indices) == per_actor
                shares = collections.Counter(indices)
                # Within an actor, too, tasks differ by at most one environment.
                least = 0 if len(shares) < num_tasks else min(shares.values())
                assert max(shares.values()) - least <= 1
                total.update(shares)
            assert total == {task: num_actors * per_actor // num_tasks for task in range(num_tasks)}
    assert tried > 1


def run(tasks: tuple[str, ...], num_actors: int, environments_per_actor: int) -> RunConfig:
    return dataclasses.replace(
        CONFIG,
        tasks=tasks,
        num_actors=num_actors,
        environments_per_actor=environments_per_actor,
    )


@pytest.mark.parametrize("num_tasks", range(1, 58))
def test_default_number_of_environments_fits_every_number_of_tasks(num_tasks: int) -> None:
    environments = run_config.default_environments_per_actor(num_tasks)
    assert environments % num_tasks == 0
    assert max(num_tasks, 8) <= environments <= max(num_tasks, 24)


def test_default_number_of_actors_is_that_of_the_usable_cores() -> None:
    usable = os.sched_getaffinity(0)
    assert run_config.default_num_actors() == len(usable)
    try:
        os.sched_setaffinity(0, {min(usable)})
        assert run_config.default_num_actors() == 1
    finally:
        os.sched_setaffinity(0, usable)


def test_task_list() -> None:
    assert [(task.name, task.action_repeat) for task in CONFIG.task_list()] == [
        ("pong", 4),
        ("seaquest", 4),
    ]


def test_tasks_made_on_demand_are_read_back_by_their_names() -> None:
    names = ("gym:CartPole-v0", "gym:ale_py:ALE/Pong-v5")
    config = dataclasses.replace(CONFIG, tasks=names)
    again = run_config.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config
    assert tuple(task.name for task in again.task_list()) == names
