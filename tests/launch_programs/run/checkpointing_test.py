"""Checkpoints on disk."""

import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from agents.popart_impala.config import Config
from agents.popart_impala.training_state import TrainingState, make_optimiser
from launch_programs.run.checkpointing import (
    Checkpointer,
    CheckpointError,
    SavedPolicy,
    has_checkpoint,
    restore_policy,
)
from launch_programs.run.run_directory import RunDirectory
from tests.agents.popart_impala.statistics import settled

ROOT = pathlib.Path(__file__).parents[3]
FRAMES = 2**40 + 3  # more than an int32 holds


def make_state(seed: int, steps: int = 7, width: int = 4) -> TrainingState:
    """A state like the learner's, with two layers, three tasks and random contents."""
    random = np.random.default_rng(seed)

    def array(*shape: int) -> np.ndarray:
        values = random.normal(size=shape) * 10.0 ** random.integers(-30, 30, shape)
        return np.asarray(values, np.float32)

    params = {
        "torso/~/linear": {"w": array(5, width), "b": array(width)},
        "policy": {"w": array(4, 2)},
    }
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


def test_checkpoints_that_are_kept_for_good(tmp_path: pathlib.Path) -> None:
    def kept() -> list[int]:
        return sorted(int(path.name) for path in tmp_path.iterdir())

    checkpointer = Checkpointer(tmp_path, keep_interval=100)
    for steps in (40, 70, 130, 141, 160, 230, 300):
        checkpointer.save(make_state(steps, steps), {})
    assert kept() == [40, 141, 160, 230, 300]
    # A resumed run, whose setting may differ.
    checkpointer = Checkpointer(tmp_path, keep_interval=100)
    for steps in (310, 320, 330):
        checkpointer.save(make_state(steps, steps), {})
    assert kept() == [40, 141, 300, 310, 320, 330]
    Checkpointer(tmp_path).save(make_state(340, 340), {})
    assert kept() == [320, 330, 340]

    reader = Checkpointer(tmp_path, read_only=True)
    older = reader.restore_policy(320)
    assert older is not None and older.steps == 320
    chex.assert_trees_all_equal(older.params, make_state(320, 320).params)
    with pytest.raises(CheckpointError, match=r"/310 cannot be read: "):
        reader.restore_policy(310)


@pytest.mark.parametrize("deviation", [None, 3.0])
def test_statistics_of_earlier_versions(tmp_path: pathlib.Path, deviation: float | None) -> None:
    """They lacked those of rewards and advantages. The first ones saved a NamedTuple."""

    class Statistics(NamedTuple):
        mean: jax.Array
        variance: jax.Array
        updates: jax.Array

    state = make_state(0)
    mean, variance, updates = state.popart.mean, state.popart.variance, state.popart.updates
    arrays = {
        "params": state.params,
        "opt_state": state.opt_state,
        "popart": Statistics(mean, variance, updates),
    }
    if deviation is not None:
        arrays["popart"] = {
            **Statistics(mean, variance, updates)._asdict(),
            "deviation": jnp.full_like(mean, deviation),
        }
    info = {"steps": 7, "frames": FRAMES, "counts": {}}
    with ocp.CheckpointManager(tmp_path) as manager:
        manager.save(
            7,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(arrays), info=ocp.args.JsonSave(info)
            ),
        )
    square = variance if deviation is None else jnp.full_like(mean, deviation**2)
    expected = jax.device_get(
        state.popart._replace(
            reward_square=0.25 * square,
            advantage_mean=jnp.zeros_like(mean),
            advantage_variance=jnp.float32(0.1) * square,
        )
    )
    restored = Checkpointer(tmp_path).restore(make_state(1))
    assert restored is not None
    assert bits(restored[0]) == bits(state._replace(popart=expected))
    policy = Checkpointer(tmp_path).restore_policy()
    assert policy is not None
    chex.assert_trees_all_equal(policy.popart, expected)


def test_no_checkpoint(tmp_path: pathlib.Path) -> None:
    checkpointer = Checkpointer(tmp_path / "checkpoints")
    assert checkpointer.latest_step is None
    assert checkpointer.restore(make_state(0)) is None
    assert checkpointer.restore_policy() is None
    assert Checkpointer(tmp_path / "checkpoints", read_only=True).restore_policy() is None


def test_the_newest_of_several_and_no_more_than_three(tmp_path: pathlib.Path) -> None:
    checkpointer = Checkpointer(tmp_path)
    for steps in (9, 10, 100, 101):  # by number: in alphabetical order, 9 would be the last
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
    """The learner saves at its end, perhaps right after a save at an interval."""
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(make_state(0), {"x": 1})
    checkpointer.save(make_state(0), {"x": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["7"]


def test_an_unfinished_checkpoint_does_not_count(tmp_path: pathlib.Path) -> None:
    """A process that is killed while saving leaves a directory with another name."""
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


def test_the_shapes_of_another_network_are_refused(tmp_path: pathlib.Path) -> None:
    Checkpointer(tmp_path).save(make_state(0), {})
    with pytest.raises(ValueError, match=r"7 is of another network.*has shape \(4,\), not \(3,\)"):
        Checkpointer(tmp_path).restore(make_state(0, width=3))
    assert [p.name for p in tmp_path.iterdir()] == ["7"]  # not mistaken for a damaged one


# Saves that fail.


def in_namespace(function: Callable[[str], None], directory: pathlib.Path, *unshare: str) -> None:
    """Calls `function(directory)` in a separate process after `unshare`, or skips the test.

    With --map-root-user and --mount it may mount a file system that no other process sees.
    """
    command = ["unshare", "--user", *unshare]
    try:
        probe = subprocess.run([*command, "true"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs the program unshare")
    if probe.returncode:
        pytest.skip(f"needs namespaces: {probe.stderr.strip()}")
    code = f"from {__name__} import {function.__name__} as f; f({str(directory)!r})"
    done = subprocess.run(
        [*command, sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


def mount(directory: str, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", directory], check=True)


def assert_restores(directory: pathlib.Path, seed: int) -> None:
    """Checks that the newest checkpoint is the state made from `seed`, which is its step too."""
    restored = Checkpointer(directory).restore(make_state(0))
    assert restored is not None
    assert bits(restored[0]) == bits(make_state(seed, steps=seed))


def fill_the_disk(directory: str) -> None:
    """Saves on disks that have 0, 12, 24, ... KiB left."""
    failed = 0
    for blocks in range(0, 20, 3):
        mount(directory, "size=1m")
        checkpoints = pathlib.Path(directory) / "checkpoints"
        filler = pathlib.Path(directory) / "filler"
        checkpointer = Checkpointer(checkpoints)
        for step in (1, 2):
            checkpointer.save(make_state(step, step), {})
        disk = os.statvfs(directory)
        filler.write_bytes(bytes((disk.f_bavail - blocks) * disk.f_bsize))
        try:
            checkpointer.save(make_state(3, 3), {})
        except CheckpointError as error:
            failed += 1
            assert f"cannot save {checkpoints}/3: " in str(error)
            assert "No space left on device" in str(error)
            assert len(str(error)) < 1000
            assert checkpointer.latest_step == 2
            assert sorted(p.name for p in checkpoints.iterdir()) == ["1", "2"]
            assert_restores(checkpoints, 2)
            if blocks == 0:  # otherwise it may fit: sizes vary by a block or two
                with pytest.raises(CheckpointError):
                    checkpointer.save(make_state(4, 4), {})
            filler.unlink()
            # The learner may end at the step that it could not save.
            checkpointer.save(make_state(3, 3), {})
        else:
            assert failed > 2, "the disk was never full"
        assert_restores(checkpoints, 3)
        filler.unlink(missing_ok=True)
        checkpointer.save(make_state(4, 4), {})
        assert_restores(checkpoints, 4)
        assert sorted(p.name for p in checkpoints.iterdir()) == ["2", "3", "4"]
        subprocess.run(["umount", "--lazy", directory], check=True)
    assert failed < 7, "the disk was always full"


def test_a_full_disk(tmp_path: pathlib.Path) -> None:
    in_namespace(fill_the_disk, tmp_path, "--map-root-user", "--mount")


def make_the_disk_read_only(directory: str) -> None:
    mount(directory, "size=1m")
    checkpoints = pathlib.Path(directory) / "checkpoints"
    checkpointer = Checkpointer(checkpoints)
    for step in (1, 2):
        checkpointer.save(make_state(step, step), {})
    mount(directory, "remount,ro")
    with pytest.raises(CheckpointError, match=f"{checkpoints}/3: .*Read-only file system"):
        checkpointer.save(make_state(3, 3), {})
    assert_restores(checkpoints, 2)
    mount(directory, "remount,rw")
    checkpointer.save(make_state(3, 3), {})
    assert_restores(checkpoints, 3)
    # A damaged checkpoint that cannot be renamed would block the next save.
    (checkpoints / "3" / "info" / "metadata").unlink()
    mount(directory, "remount,ro")
    with pytest.raises(CheckpointError, match="3 is damaged .* cannot be renamed: .*Read-only"):
        Checkpointer(checkpoints).restore(make_state(0))


def test_a_disk_that_becomes_read_only(tmp_path: pathlib.Path) -> None:
    in_namespace(make_the_disk_read_only, tmp_path, "--map-root-user", "--mount")


def forbid_writing(directory: str) -> None:
    checkpoints = pathlib.Path(directory)
    checkpointer = Checkpointer(checkpoints)
    checkpointer.save(make_state(1, 1), {})
    checkpoints.chmod(0o555)
    with pytest.raises(CheckpointError, match=f"{checkpoints}/2: .*Permission denied"):
        checkpointer.save(make_state(2, 2), {})
    assert checkpointer.latest_step == 1
    checkpoints.chmod(0o755)
    checkpointer.save(make_state(2, 2), {})
    assert_restores(checkpoints, 2)


def test_a_directory_that_may_not_be_written_to(tmp_path: pathlib.Path) -> None:
    in_namespace(forbid_writing, tmp_path)  # root has no privileges there


def test_a_wrong_argument_is_no_failure_of_the_disk(tmp_path: pathlib.Path) -> None:
    checkpointer = Checkpointer(tmp_path)
    with pytest.raises(TypeError, match="not JSON serializable"):
        checkpointer.save(make_state(1, 1), {"x": object()})  # type: ignore[dict-item]
    checkpointer.save(make_state(1, 1), {})
    assert_restores(tmp_path, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["1"]


def test_a_step_before_the_newest_is_refused(tmp_path: pathlib.Path) -> None:
    """Orbax would silently skip it."""
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(make_state(9, 9), {})
    with pytest.raises(CheckpointError, match="/8: there is a newer checkpoint, 9"):
        checkpointer.save(make_state(8, 8), {})


# Damaged checkpoints.


def truncate_to_half(path: pathlib.Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def truncate_to_nothing(path: pathlib.Path) -> None:
    os.truncate(path, 0)


def flip_a_bit(path: pathlib.Path) -> None:
    """In the value of `frames` in the file of counts, otherwise in the middle of the file."""
    contents = bytearray(path.read_bytes())
    frames = contents.find(b'"frames": ')
    contents[frames + 12 if frames >= 0 else len(contents) // 2] ^= 1
    path.write_bytes(contents)


# A shorter, empty or missing file, or one of the same length whose change only a checksum shows.
DAMAGES = [truncate_to_half, truncate_to_nothing, flip_a_bit, pathlib.Path.unlink]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_every_damage_of_every_file_is_harmless_or_noticed(
    damage: Callable[[pathlib.Path], None], tmp_path: pathlib.Path
) -> None:
    """Restoring returns exactly what was saved in this checkpoint or in the one before."""
    width = 500  # arrays this large have their own files; small ones share one
    states = {step: make_state(step, step, width) for step in (1, 2)}
    for state in states.values():
        Checkpointer(tmp_path / "whole").save(state, {"x": state.steps})
    files = [p for p in sorted((tmp_path / "whole" / "2").rglob("*")) if p.is_file()]
    assert len(files) >= 5
    fell_back = set()
    for i, file in enumerate(files):
        name = file.relative_to(tmp_path / "whole")
        directory = tmp_path / str(i)
        shutil.copytree(tmp_path / "whole", directory)
        damage(directory / name)
        policy = Checkpointer(directory, read_only=True).restore_policy()
        assert sorted(p.name for p in directory.iterdir()) == ["1", "2"]
        checkpointer = Checkpointer(directory)
        restored = checkpointer.restore(make_state(0, width=width))
        assert restored is not None, name
        state, counts = restored
        assert bits(state) == bits(states[state.steps]), name
        assert counts == {"x": state.steps}, name
        assert policy is not None, name
        chex.assert_trees_all_equal(policy.params, states[policy.steps].params)
        assert policy.steps == state.steps, name
        assert checkpointer.latest_step == state.steps, name
        if state.steps == 1:
            fell_back.add(name.parts[1] if name.parts[1] == "info" else name.parts[2])
            assert (directory / "broken-2").is_dir(), name
        # Either way learning continues from there, and its saves can be restored.
        again = make_state(5, 2, width)
        checkpointer.save(again, {})
        restored = Checkpointer(directory).restore(make_state(0, width=width))
        assert restored is not None, name
        assert bits(restored[0]) == bits(again if state.steps == 1 else states[2]), name
    assert fell_back == {"info", "_METADATA", "d", "manifest.ocdbt", "ocdbt.process_0"}


@pytest.mark.parametrize("name", ["state", "info", "state/d", "."])
def test_a_directory_that_is_gone(
    name: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (1, 2, 3):
        Checkpointer(tmp_path).save(make_state(step, step), {})
    shutil.rmtree(tmp_path / "3" / name)
    (tmp_path / "3").mkdir(exist_ok=True)
    checkpointer = Checkpointer(tmp_path)
    policy = checkpointer.restore_policy()
    assert policy is not None
    assert policy.steps == checkpointer.latest_step == 2
    warning = capsys.readouterr().err
    assert f"{tmp_path}/3 is damaged, now named broken-3; using 2 instead: " in warning
    assert_restores(tmp_path, 2)  # without a warning from now on
    assert "damaged" not in capsys.readouterr().err


def break_checkpoint(path: pathlib.Path) -> None:
    (path / "state" / "manifest.ocdbt").write_bytes(b"")


def test_falling_back_by_two_and_again(tmp_path: pathlib.Path) -> None:
    for step in (1, 2, 3):
        Checkpointer(tmp_path).save(make_state(step, step), {})
    break_checkpoint(tmp_path / "2")
    break_checkpoint(tmp_path / "3")
    checkpointer = Checkpointer(tmp_path)
    restored = checkpointer.restore(make_state(0))
    assert restored is not None
    assert bits(restored[0]) == bits(make_state(1, 1))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "broken-2", "broken-3"]
    checkpointer.save(make_state(2, 2), {})
    break_checkpoint(tmp_path / "2")
    assert_restores(tmp_path, 1)
    names = ["1", "broken-2", "broken-2-2", "broken-3"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    # Broken ones do not count towards the checkpoints to keep.
    for step in (4, 5, 6):
        checkpointer = Checkpointer(tmp_path)
        checkpointer.save(make_state(step, step), {})
    names = ["4", "5", "6", "broken-2", "broken-2-2", "broken-3"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names


def test_a_checkpoint_without_checksum(tmp_path: pathlib.Path) -> None:
    Checkpointer(tmp_path).save(make_state(1, 1), {"x": 1})
    path = tmp_path / "1" / "info" / "metadata"
    info = json.loads(path.read_text())
    del info["checksum"]
    path.write_text(json.dumps(info))
    assert_restores(tmp_path, 1)


def test_reading_falls_back_and_renames_nothing(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory(tmp_path)
    for step in (1, 2):
        Checkpointer(run.checkpoints).save(make_state(step, step), {})
    break_checkpoint(run.checkpoints / "2")
    assert restore_policy(run).steps == 1
    assert f"{run.checkpoints}/2 cannot be read, using 1 instead: ValueError: DATA_LOSS" in (
        capsys.readouterr().err
    )
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["1", "2"]


def test_no_readable_checkpoint(tmp_path: pathlib.Path) -> None:
    """Nothing is renamed, and the run does not start over."""
    run = RunDirectory(tmp_path)
    for step in (1, 2):
        Checkpointer(run.checkpoints).save(make_state(step, step), {})
        break_checkpoint(run.checkpoints / str(step))
    listed = r"(?s)no checkpoint in .*checkpoints can be read: 2: .*DATA_LOSS.*; 1: .*DATA_LOSS"
    with pytest.raises(CheckpointError, match=listed):
        Checkpointer(run.checkpoints).restore(make_state(0))
    with pytest.raises(CheckpointError, match=listed):
        restore_policy(run)
    assert has_checkpoint(run)
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["1", "2"]


def test_a_reader_that_meets_checkpoints_being_removed(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = RunDirectory(tmp_path)
    learner = Checkpointer(directory.checkpoints)
    learner.save(make_state(0, steps=1), {})
    stop = threading.Event()

    def save() -> None:
        for steps in itertools.count(2):
            if stop.is_set():
                return
            learner.save(make_state(0, steps=steps), {})

    thread = threading.Thread(target=save)
    thread.start()
    try:
        steps: list[int] = []
        while len(steps) < 30 or steps[-1] < 20:
            steps.append(restore_policy(directory).steps)
            assert has_checkpoint(directory)
    finally:
        stop.set()
        thread.join()
    assert steps == sorted(steps)
    assert "cannot be read" not in capsys.readouterr().err
