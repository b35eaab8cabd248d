"""Presets: the papers' values, and flags that override them and are reported."""

import dataclasses

import pytest

from agents.popart_impala.config import Config
from environments import AtariOptions
from launch_programs.run.run_config import RunConfig, flatten
from launch_programs.settings.flags import define_run_flags, describe_preset, resolve
from launch_programs.settings.presets import PRESETS
from tests.launch_programs.command_lines import given


def resolved(*arguments: str, saved: RunConfig | None = None) -> tuple[RunConfig, list[str]]:
    with given(define_run_flags, *arguments):
        config = resolve(saved)
        return config, describe_preset(config)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_sets_its_values(name: str) -> None:
    config, lines = resolved(f"--preset={name}")
    settings = {key.split(".")[-1]: value for key, value in flatten(config).items()}
    for key, value in PRESETS[name].values.items():
        assert settings[key] == value, key
        assert f"{key}={value}" in lines[1]
    assert lines[0] == f"preset {name}: {PRESETS[name].source}"
    assert "arXiv" in lines[0]
    assert len(lines) == 2


def test_what_the_papers_say() -> None:
    """Values copied from the papers' tables (arXiv 1802.01561, 1809.04474, 1907.02874)."""
    papers = Config(
        normalise_images=False,
        unroll_length=20,
        batch_size=32,
        discounting=0.99,
        baseline_cost=0.5,
        entropy_cost=0.01,
        loss_reduction="sum",
        vtrace_lambda=1.0,
        standardise_advantages=False,
        ratio_clip=None,
        passes=1,
        minibatches=1,
        optimiser="rmsprop",
        learning_rate=6e-4,
        total_environment_frames=200_000_000,
        warmup_updates=0,
        rmsprop_decay=0.99,
        rmsprop_epsilon=0.01,
        gradient_clipping=40.0,
    )
    clipped = dataclasses.replace(papers, popart=False, reward_clipping="abs_one")
    impala, _ = resolved("--preset=impala_deep", "--level_name=pong")
    assert impala.agent == dataclasses.replace(clipped, network="deep")
    assert impala.atari == AtariOptions(action_set="full", life_loss=True)
    multitask, _ = resolved("--preset=popart_impala_multitask", "--level_name=atari57")
    assert multitask.agent == dataclasses.replace(papers, network="deep")
    assert multitask.atari == AtariOptions(action_set="full", life_loss=False)
    assert len(multitask.tasks) == 57
    amt, _ = resolved("--preset=amt")
    assert amt.tasks == ("pong", "riverraid", "seaquest")
    assert amt.agent == dataclasses.replace(papers, network="attentive")
    augmented, _ = resolved("--preset=amt_self_attention")
    assert augmented.agent == dataclasses.replace(papers, network="self_attention")
    shallow, _ = resolved("--preset=impala_shallow")
    assert shallow.agent == dataclasses.replace(clipped, network="shallow")


def test_flags_override_a_preset_and_it_is_shown() -> None:
    config, lines = resolved("--preset=amt", "--subnets=4", "--entropy_cost=0.01", "--nopopart")
    assert (config.agent.subnets, config.agent.popart) == (4, False)
    assert lines[2] == "overridden: popart=False instead of True, subnets=4 instead of None"


def test_a_resumed_run_with_its_preset() -> None:
    saved, _ = resolved("--preset=impala_shallow", "--level_name=pong")
    assert resolved(saved=saved) == (saved, [])
    assert resolved("--preset=impala_shallow", saved=saved)[0] == saved
    # Another preset sets other values, which the run's directory then refuses.
    assert resolved("--preset=amt", saved=saved)[0].agent.network == "attentive"


def test_no_preset() -> None:
    assert resolved()[1] == []
