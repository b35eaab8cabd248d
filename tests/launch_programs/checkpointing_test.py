"""Checkpoints on the disk."""

import pathlib

import chex
import jax
import numpy as np
import pytest

from agents.popart_impala.config import Config
from agents.popart_impala.update import TrainingState, make_optimiser
from launch_programs.checkpointing import Checkpointer, SavedPolicy
from tests.agents.popart_impala.statistics import settled

FRAMES = 2**40 + 3  # more than an int32 holds


def make_state(seed: int, steps: int = 7) -> TrainingState:
    """A state like the learner's, of two layers and three tasks, with random contents."""
    random = np.random.default_rng(seed)

    def array(*shape: int) -> np.ndarray:
        values = random.normal(size=shape) * 10.0 ** random.integers(-30, 30, shape)
        return values.astype(np.float32)

    params = {"torso/~/linear": {"w": array(5, 4), "b": array(4)}, "policy": {"w": array(4, 2)}}
    opt_state = make_optimiser(Config()).init(params)
    opt_state = jax.tree.map(lambda x: array(*x.shape), opt_state)
    mean, variance = array(3), np.abs(array(3))
    statistics = jax.device_get(settled(mean, variance))
    return TrainingState(params, opt_state, statistics, steps=steps, frames=FRAMES)


def bits(state: TrainingState) -> list[tuple[str, str, tuple[int, ...], bytes]]:
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [
        (jax.tree_util.keystr(path), str(np.asarray(x).dtype), np.shape(x), np.asarray(x).tobytes())
        for path, x in leaves
    ]


def test_round_trip_bit_for_bit(tmp_path: pathlib.Path) -> None:
    state = make_state(0)
    state.params["policy"]["w"][:] = [[np.nan, np.inf], [-np.inf, -0.0], [1e-45, 0], [1, 2]]
    counts = {"learner_steps": 7, "actor_steps": 2**40, "hours": 0.1}
    Checkpointer(tmp_path / "checkpoints").save(state, counts)

    restored = Checkpointer(tmp_path / "checkpoints").restore(make_state(1))
    assert restored is not None
    assert bits(restored[0]) == bits(state)
    chex.assert_trees_all_equal_structs(restored[0], state)
    assert (restored[0].steps, restored[0].frames) == (7, FRAMES)
    assert restored[1] == counts


def test_the_policy_alone(tmp_path: pathlib.Path) -> None:
    state = make_state(0)
    Checkpointer(tmp_path).save(state, {})
    policy = Checkpointer(tmp_path, read_only=True).restore_policy()
    assert isinstance(policy, SavedPolicy)
    chex.assert_trees_all_equal(policy.params, state.params)
    assert (policy.steps, policy.frames) == (7, FRAMES)


def test_no_checkpoint(tmp_path: pathlib.Path) -> None:
    checkpointer = Checkpointer(tmp_path / "checkpoints")
    assert checkpointer.latest_step is None
    assert checkpointer.restore(make_state(0)) is None
    assert checkpointer.restore_policy() is None
    assert Checkpointer(tmp_path / "checkpoints", read_only=True).restore_policy() is None


def test_the_newest_of_several_and_no_more_than_three(tmp_path: pathlib.Path) -> None:
    checkpointer = Checkpointer(tmp_path)
    for steps in (9, 10, 100, 101):  # by number: 101 comes after 11 and before 9 in an alphabet
        checkpointer.save(make_state(steps, steps), {"learner_steps": steps})
        assert checkpointer.latest_step == steps
    assert sorted(p.name for p in tmp_path.iterdir()) == ["10", "100", "101"]
    restored = Checkpointer(tmp_path).restore(make_state(0))
    assert restored is not None
    assert bits(restored[0]) == bits(make_state(101, 101))
    assert restored[1] == {"learner_steps": 101}
    policy = Checkpointer(tmp_path, read_only=True).restore_policy()
    assert policy is not None
    assert policy.steps == 101


def test_a_step_is_saved_once(tmp_path: pathlib.Path) -> None:
    """The learner saves at its end, perhaps right after it saved at an interval."""
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(make_state(0), {"x": 1})
    checkpointer.save(make_state(0), {"x": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["7"]


def test_an_unfinished_checkpoint_does_not_count(tmp_path: pathlib.Path) -> None:
    """A process that is killed while it saves leaves a directory by another name."""
    Checkpointer(tmp_path).save(make_state(0), {})
    (tmp_path / "8.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "8.orbax-checkpoint-tmp" / "state").mkdir()
    checkpointer = Checkpointer(tmp_path)
    assert checkpointer.latest_step == 7
    checkpointer.save(make_state(1, steps=8), {})
    restored = Checkpointer(tmp_path).restore(make_state(0))
    assert restored is not None
    assert bits(restored[0]) == bits(make_state(1, steps=8))


def test_reading_does_not_make_or_change_anything(tmp_path: pathlib.Path) -> None:
    """A run may be evaluated while it trains."""
    writer = Checkpointer(tmp_path)
    for steps in (1, 2, 3):
        writer.save(make_state(0, steps), {})
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    Checkpointer(tmp_path, read_only=True).restore_policy()
    assert sorted(str(p) for p in tmp_path.rglob("*")) == before
    reader = Checkpointer(tmp_path, read_only=True)
    writer.save(make_state(0, 4), {})
    policy = reader.restore_policy()
    assert policy is not None
    assert policy.steps in (3, 4)


def test_the_state_of_another_network_is_refused(tmp_path: pathlib.Path) -> None:
    Checkpointer(tmp_path).save(make_state(0), {})
    other = make_state(0)
    other.params["value"] = other.params.pop("policy")
    with pytest.raises(ValueError, match="(?s)do not match.*params.value"):
        Checkpointer(tmp_path).restore(other)
