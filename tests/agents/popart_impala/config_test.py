"""Every setting is checked; the message names it, its value and what is accepted."""

import dataclasses
import math
import re
from typing import Any

import pytest

from agents.popart_impala.config import Config

NAN = math.nan

# Refused values, by field.
REFUSED: dict[str, list[Any]] = {
    "hidden_size": [0, -1, 1.5],
    "subnets": [0, -2, 1.5, True],
    "frozen_columns": [(0,), (1, -1), [1], 3],
    "unroll_length": [0, -1, NAN, 1.5, True],
    "batch_size": [0, -32, NAN, 2.5],
    "queue_size": [0, -1, NAN, 64.5],
    "action_repeat": [0, -4, NAN],
    "discounting": [-0.01, 1.01, NAN],
    "baseline_cost": [-0.5, NAN, math.inf],
    "entropy_cost": [-1e-9, NAN],
    "reward_clipping": ["", "abs", "None"],
    "loss_reduction": ["", "average", "SUM"],
    "vtrace_lambda": [-0.01, 1.01, NAN],
    "ratio_clip": [0.0, -0.2, NAN, math.inf],
    "passes": [0, -1, 1.5, NAN],
    "minibatches": [0, -1, 2.0, 3, 64],  # batch_size is 32
    "optimiser": ["", "Adam", "sgd"],
    "popart_step_size": [0.0, -3e-4, 1.1, NAN],
    "popart_scale_min": [0.0, -1e-4, NAN],
    "popart_scale_max": [0.0, 9e-5, NAN, math.inf],
    "warmup_updates": [-1, 2.5, NAN],
    "learning_rate": [0.0, -6e-4, NAN, math.inf],
    "total_environment_frames": [0, -1, NAN],
    "rmsprop_decay": [-0.01, 1.0, NAN],
    "rmsprop_epsilon": [0.0, -0.01, NAN],
    "gradient_clipping": [0.0, -40.0, NAN],
}
# Switches, and names that are looked up elsewhere.
UNCHECKED = {
    "network",
    "use_lstm",
    "normalise_images",
    "task_input",
    "use_gap",
    "use_separate_attn_net",
    "popart",
    "standardise_advantages",
}

ACCEPTED: dict[str, list[Any]] = {
    "hidden_size": [1],
    "subnets": [None, 1, 15],
    "frozen_columns": [(), (1, 2)],
    "unroll_length": [1, 100],
    "batch_size": [1],
    "queue_size": [None, 1, 1000],  # batch_size is 32
    "action_repeat": [1],
    "discounting": [0.0, 1.0],
    "baseline_cost": [0.0],
    "entropy_cost": [0.0],
    "reward_clipping": ["none", "abs_one", "soft_asymmetric"],
    "loss_reduction": ["sum", "mean"],
    "vtrace_lambda": [0.0, 1.0],
    "ratio_clip": [None, 0.1],
    "passes": [1, 3],
    "minibatches": [None, 1, 8],  # batch_size is 32
    "optimiser": ["adam", "rmsprop"],
    "popart_step_size": [1e-9, 1.0],
    "popart_scale_min": [1e-9, 1e6],  # popart_scale_max is 1e6
    "popart_scale_max": [1e-4],  # popart_scale_min is 1e-4
    "warmup_updates": [0, 1],
    "total_environment_frames": [1],
    "rmsprop_decay": [0.0],
}


def pairs(values: dict[str, list[Any]]) -> list[tuple[str, Any]]:
    return [(field, value) for field, of_field in values.items() for value in of_field]


def test_every_field_is_here() -> None:
    fields = {field.name for field in dataclasses.fields(Config)}
    assert fields == REFUSED.keys() | UNCHECKED


@pytest.mark.parametrize("field, value", pairs(REFUSED))
def test_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{field}={re.escape(repr(value))}: must be .+"):
        Config(**{field: value})


@pytest.mark.parametrize("field, value", pairs(ACCEPTED))
def test_accepted(field: str, value: Any) -> None:
    assert getattr(Config(**{field: value}), field) == value


def test_the_bounds_of_sigma_must_be_in_order() -> None:
    with pytest.raises(ValueError, match="^popart_scale_max=1.0: .* popart_scale_min=2.0"):
        Config(popart_scale_min=2.0, popart_scale_max=1.0)


def test_plain_impala_has_scale_1() -> None:
    with pytest.raises(ValueError, match="^popart=False: .*popart_scale_min"):
        Config(popart=False, popart_scale_min=2.0)


def test_choices_are_named() -> None:
    with pytest.raises(ValueError, match="none, abs_one, soft_asymmetric"):
        Config(reward_clipping="clip")
    with pytest.raises(ValueError, match="sum, mean"):
        Config(loss_reduction="max")


def test_a_config_cannot_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().batch_size = 0  # type: ignore[misc]
    with pytest.raises(ValueError, match="batch_size=0"):
        dataclasses.replace(Config(), batch_size=0)


def test_derived_settings() -> None:
    config = Config(batch_size=3, unroll_length=5, action_repeat=4)
    assert config.frames_per_update == 60
    assert config.queue_capacity == 1 and Config(batch_size=32).queue_capacity == 8
    assert Config(batch_size=3, queue_size=7).queue_capacity == 7


def test_a_batch_is_learned_from_in_as_many_parts_as_go() -> None:
    # At most four parts, each split evenly over the devices.
    for batch_size, num_devices, parts in (
        (32, 1, 4),
        (32, 8, 4),
        (32, 16, 2),
        (6, 1, 3),
        (7, 1, 1),
    ):
        assert Config(batch_size=batch_size).num_minibatches(num_devices) == parts
    assert Config(batch_size=32, minibatches=8).num_minibatches(4) == 8
    with pytest.raises(
        ValueError, match="^batch_size=6: must be a multiple of the 4 local devices$"
    ):
        Config(batch_size=6).num_minibatches(4)
    with pytest.raises(ValueError, match="^batch_size=32: .* 8 local devices times minibatches=8"):
        Config(batch_size=32, minibatches=8).num_minibatches(8)
