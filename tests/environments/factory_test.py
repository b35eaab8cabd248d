"""Tasks -> environments; what an import loads."""

import subprocess
import sys

import numpy as np
import pytest

from environments import (
    TASKS,
    AtariOptions,
    BatchedDmEnvironments,
    Observation,
    Task,
    check_tasks,
    make_batched_environment,
    make_environment,
    parse_level_name,
)
from environments.atari import AtariBatch

OPTIONS = AtariOptions(noop_max=0)


def test_toy_tasks() -> None:
    tasks = parse_level_name("toy")
    batch = make_batched_environment(tasks, [2, 0, 1, 0], atari=OPTIONS, seed=0)
    assert isinstance(batch, BatchedDmEnvironments)
    np.testing.assert_array_equal(batch.tasks, [2, 0, 1, 0])
    batch.reset()
    for _ in range(9):
        step = batch.step(np.ones(4, np.int32))
    np.testing.assert_array_equal(np.abs(step.reward), [10_000, 1, 100, 1])
    assert step.first.all()


def test_atari_tasks() -> None:
    tasks = parse_level_name("atari3")
    batch = make_batched_environment(tasks, [2, 0, 2], atari=OPTIONS, seed=0, num_threads=1)
    assert isinstance(batch, AtariBatch)
    first = batch.reset().observation
    np.testing.assert_array_equal(first.task, [2, 0, 2])
    for row, index in enumerate([2, 0, 2]):
        environment = make_environment(tasks, index, atari=OPTIONS, seed=9)
        observation = environment.reset().observation
        assert isinstance(observation, Observation)
        assert observation.task == index
        np.testing.assert_array_equal(observation.features, first.features[row])
        assert environment.observation_spec() == batch.observation_spec()
        assert environment.action_spec() == batch.action_spec()


@pytest.mark.parametrize("names", ["toy", "pong", "minatar:asterix"])
def test_one_seed_makes_different_environments_that_can_be_repeated(names: str) -> None:
    tasks = parse_level_name(names)

    def run(seed: int) -> np.ndarray:
        batch = make_batched_environment(tasks, [0] * 4, atari=AtariOptions(), seed=seed)
        shown = [batch.reset()]
        shown += [batch.step(np.full(4, 2)) for _ in range(40)]
        return np.stack([step.observation.features for step in shown])

    features = run(1)
    np.testing.assert_array_equal(run(1), features)
    assert (run(2) != features).any()
    assert len({features[:, i].tobytes() for i in range(4)}) > 1


def test_bad_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match="no task"):
        check_tasks([], atari=OPTIONS)
    with pytest.raises(ValueError, match="one domain, got .*atari.*toy"):
        check_tasks([TASKS["pong"], TASKS["catch_x1"]], atari=OPTIONS)
    with pytest.raises(FileNotFoundError, match="no_such_game"):
        check_tasks([TASKS["pong"], Task("no_such_game", "atari", 0.0, 1.0, 4)], atari=OPTIONS)
    with pytest.raises(ValueError, match="use action_set='full'"):
        check_tasks([TASKS["pong"], TASKS["breakout"]], atari=AtariOptions(action_set="minimal"))
    with pytest.raises(ValueError, match="one domain"):
        make_environment([TASKS["catch_x1"], TASKS["pong"]], 0, atari=OPTIONS, seed=0)


@pytest.mark.parametrize("names", ["toy", "atari3"])
def test_bad_indices_are_refused(names: str) -> None:
    tasks = parse_level_name(names)
    for index in (3, -1):
        with pytest.raises(ValueError, match=rf"task index is {index}; it must be in \[0, 3\)"):
            make_environment(tasks, index, atari=OPTIONS, seed=0)
        with pytest.raises(ValueError, match=f"task index is {index}"):
            make_batched_environment(tasks, [0, index], atari=OPTIONS, seed=0)
    with pytest.raises(ValueError, match="task_indices is empty"):
        make_batched_environment(tasks, [], atari=OPTIONS, seed=0)


def test_imports_stay_light() -> None:
    """The package loads no emulator; the emulator loads nothing of the agent's stack."""
    program = (
        "import sys, environments\n"
        "assert not {'ale_py', 'gymnasium'} & set(sys.modules)\n"
        "import environments.atari\n"
        "others = {'acme', 'reverb', 'launchpad', 'tensorflow', 'jax', 'agents', 'rlax'}\n"
        "assert not others & set(sys.modules), others & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
