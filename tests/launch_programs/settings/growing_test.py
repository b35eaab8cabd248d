"""--grow_from: settings, tasks and the first checkpoint of a network with one more column."""

import pathlib

import jax
import numpy as np
import pytest

from agents.popart_impala import popart
from agents.popart_impala.networks import VALUE_HEAD
from agents.popart_impala.training_state import TrainingState, make_optimiser
from launch_programs.run.checkpointing import Checkpointer, restore_policy
from launch_programs.run.parts import make_run_networks
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory
from launch_programs.settings.flags import define_run_flags, resolve
from launch_programs.settings.growing import first_state
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
    # Only the new task is played for learning.
    assert config.environments_per_actor == 16
    assert config.task_indices(0) == config.task_indices(1) == [2] * 16


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
    assert again.task_indices(0) == [3] * 16


def test_the_first_state(parent: RunDirectory, tmp_path: pathlib.Path) -> None:
    # Statistics other than the initial ones, in a newer checkpoint.
    state, _ = Checkpointer(parent.checkpoints).restore(_state(parent)) or (None, None)
    assert state is not None
    statistics = settled([3.0, -7.0], np.full(2, 9.0))
    Checkpointer(parent.checkpoints).save(state._replace(popart=statistics, steps=7), {})
    config = resolved("--level_name=catch_x10000", f"--grow_from={parent.path}")
    directory = RunDirectory(tmp_path / "grown")
    first = first_state(config, directory)
    assert first is not None
    assert (first.steps, first.frames) == (0, 0)
    np.testing.assert_array_equal(first.popart.mean, [3, -7, 0])
    np.testing.assert_array_equal(first.popart.variance, [9, 9, 1])
    for module, values in state.params.items():
        for name, x in values.items():
            kept = first.params[module][name]
            kept = kept[..., :2] if module == VALUE_HEAD else kept
            np.testing.assert_array_equal(kept, x)
    assert first.params[VALUE_HEAD]["b"].shape == (3,)
    assert not directory.path.exists()
    # It can be saved and restored like any other, and a run with a checkpoint continues from it.
    directory.create()
    Checkpointer(directory.checkpoints).save(first, {})
    restored = restore_policy(directory)
    jax.tree.map(np.testing.assert_array_equal, restored.params, first.params)
    jax.tree.map(np.testing.assert_array_equal, restored.popart, first.popart)
    assert first_state(config, directory) is None
    # A run that does not grow starts from scratch.
    assert first_state(parent.read_config(), RunDirectory(tmp_path / "other")) is None


def _state(directory: RunDirectory) -> TrainingState:
    """A state with the structure of the run's."""
    config = directory.read_config()
    networks = make_run_networks(config)
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
    with pytest.raises(ValueError, match=f"^grow_from='{parent.path}': .*has no place"):
        first_state(config, RunDirectory(tmp_path / "grown"))
