"""Flags -> the run that they define."""

import dataclasses
import re
from typing import Any

import pytest
from absl import flags

from agents.popart_impala.config import Config
from environments import AtariOptions
from launch_programs import cluster_template, evaluate, train
from launch_programs.run import run_config
from launch_programs.run.run_config import RunConfig, flatten
from launch_programs.settings.flags import define_run_flags, resolve
from tests.launch_programs.command_lines import given

FLAGS = flags.FLAGS

# Settings without a flag of their own, and why.
NO_FLAG = {
    "grow_from": "a flag that takes a run, tested in growing_test",
    "tasks": "--level_name is their flag",
    "pause_at_frames": "`tune` sets it",
    "agent.action_repeat": "it is the tasks'",
    "agent.frozen_columns": "--grow_from sets them",
}

# For every flag, a value other than its default, and the setting's value that results.
OTHER_VALUES: dict[str, tuple[str, Any]] = {
    "network": ("mlp", "mlp"),
    "use_lstm": ("true", True),
    "hidden_size": ("128", 128),
    "normalise_images": ("false", False),
    "task_input": ("true", True),
    "subnets": ("3", 3),
    "use_gap": ("true", True),
    "use_separate_attn_net": ("true", True),
    "unroll_length": ("7", 7),
    "batch_size": ("16", 16),
    "queue_size": ("99", 99),
    "discounting": ("0.5", 0.5),
    "baseline_cost": ("0.25", 0.25),
    "entropy_cost": ("0", 0.0),
    "reward_clipping": ("soft_asymmetric", "soft_asymmetric"),
    "loss_reduction": ("sum", "sum"),
    "vtrace_lambda": ("1", 1.0),
    "standardise_advantages": ("false", False),
    "ratio_clip": ("0.1", 0.1),
    "passes": ("1", 1),
    "minibatches": ("2", 2),
    "optimiser": ("rmsprop", "rmsprop"),
    "popart": ("false", False),
    "popart_step_size": ("1e-2", 0.01),
    "popart_scale_min": ("1e-2", 0.01),
    "popart_scale_max": ("1e3", 1e3),
    "learning_rate": ("1e-2", 1e-2),
    "warmup_updates": ("7", 7),
    "total_environment_frames": ("12345678901", 12_345_678_901),
    "rmsprop_decay": ("0.5", 0.5),
    "rmsprop_epsilon": ("1e-5", 1e-5),
    "gradient_clipping": ("1", 1.0),
    "action_set": ("minimal", "minimal"),
    "repeat_action_probability": ("0.25", 0.25),
    "distribution_mode": ("hard", "hard"),
    "num_levels": ("7", 7),
    "start_level": ("9", 9),
    "noop_max": ("0", 0),
    "max_frames_per_episode": ("1000", 1000),
    "life_loss": ("false", False),
    "num_actors": ("1001", 1001),
    "environments_per_actor": ("30", 30),
    "num_queues": ("2", 2),
    "seed": ("0", 0),
    "evaluation_interval": ("0", 0),
    "evaluation_max_frames": ("500", 500),
    "checkpoint_interval": ("1.5", 1.5),
    "keep_interval": ("1000", 1000),
    "log_interval": ("0.5", 0.5),
    "environment_deadline": ("0.5", 0.5),
    "max_environment_failures": ("1", 1),
}

# Flags of `train` that are not settings themselves.
OTHER_NAMES = {
    "preset",
    "grow_from",
    "level_name",
    "logdir",
    "launch_type",
    "max_restarts",
    "private_network",
    "quiet",
    "wandb",
    "ray_address",
    "ray_resources",
    "vertex_learner_gpu",
    "test_num_episodes",
}


def resolved(*arguments: str, saved: RunConfig | None = None) -> RunConfig:
    with given(define_run_flags, *arguments):
        return resolve(saved)


def test_defaults() -> None:
    config = resolved()
    assert config == RunConfig(
        tasks=("pong", "riverraid", "seaquest"),
        grow_from=None,
        agent=Config(),  # network: shallow, action repeat: 4
        atari=AtariOptions(life_loss=True),  # all 18 actions: several games
        num_actors=run_config.default_num_actors(),
        environments_per_actor=15,
        num_queues=0,
        seed=1,
        evaluation_interval=1_000_000,
        checkpoint_interval=60.0,
        log_interval=10.0,
        environment_deadline=300.0,
        max_environment_failures=5,
    )


def test_defaults_of_toy_tasks_differ_in_what_the_tasks_decide() -> None:
    config, atari = resolved("--level_name=toy"), resolved()
    assert config.tasks == ("catch_x1", "catch_x100", "catch_x10000")
    assert config.agent == dataclasses.replace(atari.agent, network="mlp", action_repeat=1)
    assert config == dataclasses.replace(atari, tasks=config.tasks, agent=config.agent)


def test_a_game_alone_has_the_actions_that_it_uses() -> None:
    for arguments, expected in (
        (["--level_name=pong"], "minimal"),
        (["--level_name=pong", "--action_set=full"], "full"),
        (["--level_name=pong,seaquest"], "full"),
        (["--level_name=pong", "--network=progressive"], "full"),  # other games may follow
        (["--level_name=pong", "--preset=impala_deep"], "full"),
    ):
        assert resolved(*arguments).atari.action_set == expected, arguments
    alone = resolved("--level_name=pong")
    assert resolved(saved=alone) == alone


def test_minatar_has_a_network_of_its_own_and_that_settings() -> None:
    config, toy = resolved("--level_name=minatar"), resolved("--level_name=toy")
    assert config.agent == dataclasses.replace(toy.agent, network="minatar", hidden_size=128)
    other = resolved("--level_name=minatar", "--network=attentive").agent
    assert (other.network, other.hidden_size) == ("attentive", 256)
    larger = resolved("--level_name=minatar", "--hidden_size=256")
    assert larger.agent.hidden_size == resolved(saved=larger).agent.hidden_size == 256


@pytest.mark.parametrize(
    ("level", "network"),
    [
        ("gym:CartPole-v1", "mlp"),
        ("minatar:freeway", "minatar"),
        ("gym:ale_py:ALE/Pong-v5", "shallow"),
        ("pong", "shallow"),
    ],
)
def test_the_observations_decide_on_the_network(level: str, network: str) -> None:
    config = resolved(f"--level_name={level}")
    assert config.agent.network == network
    assert resolved(saved=config) == config
    assert resolved(f"--level_name={level}", "--network=mlp").agent.network == "mlp"


def test_every_setting_has_a_flag_or_a_reason() -> None:
    settings = flatten(resolved())
    names = {setting.split(".")[-1] for setting in settings if setting not in NO_FLAG}
    assert names == set(OTHER_VALUES)
    assert set(NO_FLAG) < set(settings)


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_a_flag_sets_its_setting_and_no_other(name: str) -> None:
    text, value = OTHER_VALUES[name]
    settings = flatten(resolved(f"--{name}={text}"))
    defaults = flatten(resolved())
    setting = setting_of(name)
    assert settings != defaults
    assert settings == {**defaults, setting: value}
    assert type(settings[setting]) is type(value)


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_a_resumed_run_keeps_what_no_flag_changes(name: str) -> None:
    text, _ = OTHER_VALUES[name]
    saved = resolved("--level_name=seaquest", f"--{name}={text}")
    assert resolved(saved=saved) == saved
    assert resolved(f"--{name}={text}", saved=saved) == saved
    longer = dataclasses.replace(saved.agent, total_environment_frames=5)
    assert resolved("--total_environment_frames=5", saved=saved) == dataclasses.replace(
        saved, agent=longer
    )


# These are unset by default, which no flag value can express.
@pytest.mark.parametrize(
    "name",
    sorted(set(OTHER_VALUES) - {"evaluation_max_frames", "queue_size", "subnets", "minibatches"}),
)
def test_a_given_flag_overrides_the_resumed_run_even_with_the_default(name: str) -> None:
    text, value = OTHER_VALUES[name]
    setting = setting_of(name)
    default = flatten(resolved())[setting]
    saved = resolved(f"--{name}={text}")
    assert flatten(saved)[setting] == value != default
    assert resolved(f"--{name}={default}", saved=saved) == resolved()


def setting_of(name: str) -> str:
    """The setting that a flag sets, prefixed with the part that it belongs to."""
    (setting,) = (s for s in flatten(resolved()) if s.split(".")[-1] == name)
    return setting


def test_tasks_of_a_resumed_run() -> None:
    saved = resolved("--level_name=seaquest,pong")
    assert resolved(saved=saved).tasks == ("seaquest", "pong")
    # An explicit flag wins, even with the default.
    assert resolved("--level_name=atari3", "--environments_per_actor=3", saved=saved).tasks == (
        "pong",
        "riverraid",
        "seaquest",
    )


@pytest.mark.parametrize("program", [train, evaluate, cluster_template])
def test_every_flag_has_help_that_a_user_of_help_sees(program: Any) -> None:
    before = set(FLAGS)
    with given(program.define_flags, "--logdir=x"):
        names = set(FLAGS) - before
        key_flags = {flag.name for flag in FLAGS.get_key_flags_for_module(program)}
        assert key_flags == names
        for name in names:
            text = FLAGS[name].help.partition(";\n    repeat this option")[0]  # absl's own
            assert re.fullmatch(r"(<[a-z0-9_|]+>: )?[A-Z].*\.", text), name
    if program is train:
        assert names == {*OTHER_VALUES, *OTHER_NAMES}


def test_flags_of_the_original_program() -> None:
    """The names that users of the original program know."""
    original = (
        "num_actors batch_size unroll_length entropy_cost baseline_cost discounting learning_rate "
        "total_environment_frames level_name reward_clipping gradient_clipping test_num_episodes "
        "seed logdir"
    )
    with given(train.define_flags):
        assert set(original.split()) <= set(FLAGS)
        for accepted in ("none", "abs_one", "soft_asymmetric"):
            assert FLAGS["reward_clipping"].parser.parse(accepted) == accepted
        with pytest.raises(ValueError):
            FLAGS["reward_clipping"].parser.parse("half")
