"""Resources that a user may request from a Ray cluster."""

import re

import pytest

from launch_programs.launching.ray_backend import DEFAULT_RESOURCES, parse_resources


def test_defaults() -> None:
    assert parse_resources([]) == DEFAULT_RESOURCES


def test_a_groups_resources_replace_its_default() -> None:
    resources = parse_resources(["learner:GPU=1,CPU=4", "actor:fast_cpu=0.5,memory=2e9"])
    assert resources["learner"] == {"GPU": 1, "CPU": 4}
    assert resources["actor"] == {"fast_cpu": 0.5, "memory": 2e9}
    assert resources["evaluator"] == DEFAULT_RESOURCES["evaluator"]


@pytest.mark.parametrize(
    "value",
    ["", "learner", "learner:", "learner:GPU", "learner:GPU=", "learner:GPU=one", "learner:=1"]
    + ["lerner:GPU=1", "learner:GPU=-1", "learner:GPU=nan", "learner:GPU=inf", "actor:CPU=1,"],
)
def test_anything_else_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=f"^ray_resources='{re.escape(value)}': must be GROUP:"):
        parse_resources([value])
