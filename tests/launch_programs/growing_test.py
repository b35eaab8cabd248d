"""--grow_from: settings, tasks and the first checkpoint of a network with one column more."""

import pathlib

import jax
import numpy as np
import pytest

from agents.popart_impala import popart
from agents.popart_impala.networks import VALUE_HEAD
from launch_programs.checkpointing import Checkpointer, restore_policy
from launch_programs.flags import define_run_flags, resolve
from launch_programs.growing import write_first_checkpoint
from launch_programs.run_config import RunConfig
from launch_programs.run_directory import RunDirectory
from tests.agents.popart_impala.statistics import settled
from tests.launch_programs.command_lines import given
from tests.launch_programs.runs import make_run


def resolved(*arguments: str, saved: RunConfig | None = None) -> RunConfig:
    with given(define_run_flags, *arguments):
        return resolve(saved)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    path = tmp_path_factory.mktemp("runs") / "parent"
    return make_run(
        path, "catch_x1,catch_x100", "--network=progressive", "--hidden_size=32", "--use_lstm"
    )


def test_settings(parent: RunDirectory) -> None:
    config = resolved("--level_name=catch_x10000", f"--grow_from={parent.path}", "--batch_size=8")
    assert config.tasks == ("catch_x1", "catch_x100", "catch_x10000")
    assert config.agent.frozen_columns == (2,)
    assert config.agent.network == "progressive"
    assert (config.agent.use_lstm, config.agent.hidden_size) == (True, 32)
    assert config.agent.batch_size == 8
    assert config.grow_from == str(parent.path)
    # Only the new task is played to learn.
    assert config.environments_per_actor == 24
    assert config.task_indices(0) == config.task_indices(1) == [2] * 24


def test_a_grown_run_resumes_and_grows_again(parent: RunDirectory, tmp_path: pathlib.Path) -> None:
    flags = ("--level_name=catch_x10000", f"--grow_from={parent.path}")
    config = resolved(*flags)
    assert resolved(saved=config) == config
    assert resolved(*flags, saved=config) == config
    grown = RunDirectory(tmp_path / "grown")
    grown.create()
    grown.write_config(config)
    assert grown.read_config() == config
    again = resolved("--level_name=choice_x1", f"--grow_from={grown.path}")
    assert again.agent.frozen_columns == (2, 1)
    assert again.tasks == (*config.tasks, "choice_x1")
    assert again.task_indices(0) == [3] * 24


def test_the_first_checkpoint(parent: RunDirectory, tmp_path: pathlib.Path) -> None:
    # Statistics other than the initial ones, and a checkpoint that is newer.
    state, _ = Checkpointer(parent.checkpoints).restore(_state(parent)) or (None, None)
    assert state is not None
    statistics = settled([3.0, -7.0], np.full(2, 9.0))
    Checkpointer(parent.checkpoints).save(state._replace(popart=statistics, steps=7), {})
    config = resolved("--level_name=catch_x10000", f"--grow_from={parent.path}")
    directory = RunDirectory(tmp_path / "grown")
    directory.create()
    write_first_checkpoint(config, directory)
    policy = restore_policy(directory)
    assert (policy.steps, policy.frames) == (0, 0)
    np.testing.assert_array_equal(policy.popart.mean, [3, -7, 0])
    np.testing.assert_array_equal(policy.popart.variance, [9, 9, 1])
    for module, values in state.params.items():
        for name, x in values.items():
            kept = policy.params[module][name]
            kept = kept[..., :2] if module == VALUE_HEAD else kept
            np.testing.assert_array_equal(kept, x)
    assert policy.params[VALUE_HEAD]["b"].shape == (3,)
    # A run that has a checkpoint goes on from that.
    newer = policy.params
    later = jax.tree.map(lambda x: x + 1, newer)
    like = _state(directory, config)
    Checkpointer(directory.checkpoints).save(like._replace(params=later, steps=3), {})
    write_first_checkpoint(config, directory)
    assert restore_policy(directory).steps == 3


def _state(directory: RunDirectory, config: RunConfig | None = None):  # type: ignore[no-untyped-def]
    from agents.popart_impala.update import TrainingState, make_optimiser
    from launch_programs.parts import make_builder

    config = config or directory.read_config()
    networks = make_builder(config).networks
    params = jax.device_get(networks.init(jax.random.PRNGKey(0)))
    return TrainingState(
        params,
        jax.device_get(make_optimiser(config.agent).init(params)),
        jax.device_get(popart.initial_state(networks.num_tasks)),
        steps=0,
        frames=0,
    )


def test_refused(parent: RunDirectory, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=f"^grow_from='{tmp_path}': .* no config.json"):
        resolved("--level_name=catch_x10000", f"--grow_from={tmp_path}")
    with pytest.raises(ValueError, match="more than once"):
        resolved("--level_name=catch_x1", f"--grow_from={parent.path}")
    with pytest.raises(ValueError, match="one domain"):
        resolved("--level_name=pong", f"--grow_from={parent.path}")
    mlp = make_run(tmp_path / "mlp", "catch_x1")
    with pytest.raises(ValueError, match="its network is 'mlp'; it must be 'progressive'"):
        resolved("--level_name=catch_x100", f"--grow_from={mlp.path}")
    config = resolved("--level_name=choice_x1", f"--grow_from={parent.path}", "--hidden_size=16")
    directory = RunDirectory(tmp_path / "grown")
    directory.create()
    with pytest.raises(ValueError, match=f"^grow_from='{parent.path}': .*has no place"):
        write_first_checkpoint(config, directory)
