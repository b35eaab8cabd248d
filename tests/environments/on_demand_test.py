"""Tasks made from their names."""

import importlib.util
import pathlib
import re
import sys

import gymnasium
import numpy as np
import pytest
from absl.testing import absltest
from dm_env import specs, test_utils

import environments
from environments import (
    AtariOptions,
    EnvironmentRaised,
    Observation,
    StackedFrames,
    Task,
    check_tasks,
    features_spec,
    make_batched_environment,
    make_environment,
    parse_level_name,
    reported,
    suite_name,
)
from environments.families import FAMILIES, DmFamily

needs_bsuite = pytest.mark.skipif(
    importlib.util.find_spec("bsuite") is None, reason="needs the extra [bsuite]"
)

MODULE = """
import numpy as np
import environments

def catch(seed):
    return environments.Catch(seed=seed)

def board_of(rows):
    return lambda seed: environments.Catch(rows=rows, seed=seed)

def nothing(seed):
    return None

class Continuous(environments.Catch):
    def action_spec(self):
        from dm_env import specs
        return specs.BoundedArray((1,), np.float32, 0, 1)

class TwoArrays(environments.Catch):
    def observation_spec(self):
        return {"a": super().observation_spec(), "b": super().observation_spec()}

class Shows(environments.Catch):
    def __init__(self, spec):
        super().__init__()
        self._shown = spec

    def observation_spec(self):
        return self._shown

def scalar(seed):
    from dm_env import specs
    return Shows(specs.Array((), np.float32))

def text(seed):
    from dm_env import specs
    return Shows(specs.StringArray((2,)))

def empty(seed):
    from dm_env import specs
    return Shows(specs.Array((0, 3), np.float32))

def wide(seed):
    from dm_env import specs
    return Shows(specs.Array((2, 3), np.float64))

def continuous(seed):
    return Continuous(seed=seed)

def two_arrays(seed):
    return TwoArrays(seed=seed)

def raising(seed):
    raise RuntimeError("licence server\\nnot reached")

def lacking(seed):
    import os
    return os.environ["SIMULATOR_HOME"]

def ending(seed):
    raise SystemExit(3)

def silent(seed):
    assert seed is None

class Panic(BaseException):  # as those of libraries written in Rust
    pass

def panicking(seed):
    raise Panic("called unwrap")

class BadSpec(environments.Catch):
    def reward_spec(self):
        raise TypeError("no rewards")

def bad_spec(seed):
    return BadSpec(seed=seed)

class BadEnd(environments.Catch):
    def close(self):
        raise OSError("already closed")

def bad_end(seed):
    return BadEnd(seed=seed)

def without_seed():
    return environments.Catch()

number = 3
"""

REGISTERING = """
import gymnasium

class Licence(gymnasium.Env):
    def __init__(self):
        raise RuntimeError("licence server not reached")

class OldGym:  # of the old package, so no gymnasium.Env
    pass

gymnasium.register("Licence-v0", entry_point=Licence)
gymnasium.register("OldGym-v0", entry_point=OldGym)
"""


@pytest.fixture(scope="module", autouse=True)
def own_module(tmp_path_factory: pytest.TempPathFactory) -> object:
    """`own_environments`, as a user's module."""
    path = tmp_path_factory.mktemp("own")
    (path / "own_environments.py").write_text(MODULE)
    (path / "own_registered.py").write_text(REGISTERING)
    (path / "own_broken.py").write_text("def make(seed) ...")
    (path / "own_script.py").write_text("import sys; sys.exit('usage: own_script FILE')")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path)
        yield path
    sys.modules.pop("own_environments", None)
    sys.modules.pop("own_registered", None)
    gymnasium.registry.pop("Licence-v0", None)
    gymnasium.registry.pop("OldGym-v0", None)


NAMES = [
    "gym:CartPole-v1",
    "gym:ale_py:ALE/Pong-v5",
    "gym:ALE/Pong-v5",
    pytest.param("bsuite:catch/0", marks=needs_bsuite),
    "dm_env:own_environments:catch",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_makes_a_task_that_has_it(name: str) -> None:
    (task,) = parse_level_name(f" {name} ")
    domain, rest = name.split(":", 1)
    assert task == Task(name, domain, None, None, 1)
    assert task.human_normalised(3.0) is None
    assert parse_level_name(task.name) == (task,)
    assert parse_level_name(f"{domain.upper()}:{rest}") == (task,)


def test_several() -> None:
    assert [t.name for t in parse_level_name("gym:CartPole-v1, gym:CartPole-v0")] == [
        "gym:CartPole-v1",
        "gym:CartPole-v0",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gym:", "task 'gym:': must be gym:ID"),
        ("dm_env:", "task 'dm_env:': must be dm_env:MODULE:FACTORY"),
        ("gin:CartPole-v1", "unknown task 'gin:CartPole-v1': known suites: atari3, "),
        ("CartPole-v1", "unknown task 'CartPole-v1': .*; other environments: gym:ID, bsuite:EX"),
        ("gym:CartPole-v1,GYM:CartPole-v1", "has gym:CartPole-v1 more than once"),
        ("gym:CartPole-v1,pong", r"mixes gym:CartPole-v1 \(gym\) and pong \(atari\)"),
    ],
)
def test_names_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_level_name(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gym:CartPole-v1", "gym_CartPole-v1"),
        ("gym:ale_py:ALE/Pong-v5,gym:CartPole-v1", "gym_ale_py_ALE_Pong-v5-gym_CartPole-v1"),
        ("bsuite:catch/0", "bsuite_catch_0"),
        ("dm_env:a.b:c", "dm_env_a.b_c"),
        (f"dm_env:{'a' * 300}:b", "dm_env1tasks"),
    ],
)
def test_names_of_directories(text: str, expected: str) -> None:
    assert suite_name(parse_level_name(text)) == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_specs_and_seeds(name: str) -> None:
    """What an environment shows depends only on its seed."""
    tasks = parse_level_name(name)
    check_tasks(tasks, atari=AtariOptions())

    def play(seed: int) -> list[np.ndarray]:
        environment = make_environment(tasks, 0, atari=AtariOptions(), seed=seed)
        spec = environment.observation_spec()
        assert isinstance(spec, Observation)
        features = features_spec(tasks)
        assert spec.features == features
        shown = []
        for i in range(40):
            timestep = environment.step(np.int32(i % 2))
            features.validate(timestep.observation.features)
            shown.append(timestep.observation.features.copy())
        environment.close()
        return shown

    first = play(1)
    np.testing.assert_array_equal(first, play(1))
    if "Pong" not in name:  # its seed only affects sticky actions
        assert not np.array_equal(first, play(2))


@pytest.mark.filterwarnings("ignore:.*WARN")
def test_environments_of_a_batch_differ() -> None:
    tasks = parse_level_name("gym:CartPole-v1,gym:CartPole-v0")
    batch = make_batched_environment(tasks, [0, 1, 0, 1], atari=AtariOptions(), seed=1)
    features = batch.reset().observation.features
    assert len(np.unique(features, axis=0)) == 4
    np.testing.assert_array_equal(batch.tasks, [0, 1, 0, 1])
    batch.close()


def test_features() -> None:
    assert isinstance(features_spec(parse_level_name("gym:ale_py:ALE/Pong-v5")), StackedFrames)
    assert features_spec(parse_level_name("gym:CartPole-v1")) == specs.Array((4,), np.float32)
    wide = parse_level_name("dm_env:own_environments:wide")
    assert features_spec(wide) == specs.Array((2, 3), np.float32)
    environment = make_environment(wide, 0, atari=AtariOptions(), seed=0)
    assert environment.observation_spec().features == features_spec(wide)


@pytest.mark.filterwarnings("ignore:.*WARN")
def test_tasks_must_have_equal_specs() -> None:
    check_tasks(parse_level_name("gym:CartPole-v1,gym:CartPole-v0"), atari=AtariOptions())
    with pytest.raises(ValueError) as error:
        check_tasks(parse_level_name("gym:CartPole-v1,gym:Acrobot-v1"), atari=AtariOptions())
    assert re.fullmatch(
        r"the tasks of a run must have equal observations and actions: gym:CartPole-v1 has "
        r"Array\(shape=\(4,\), .*\) and DiscreteArray\(.* num_values=2\); gym:Acrobot-v1 has "
        r"Array\(shape=\(6,\), .*\) and DiscreteArray\(.* num_values=3\)",
        str(error.value),
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gym:CarPole-v1", "Environment `CarPole` doesn't exist. Did you mean: `CartPole`?"),
        ("gym:Pendulum-v1", "actions must be discrete, the action space is Box"),
        pytest.param(
            *("bsuite:cach/0", "bsuite has no such experiment; did you mean catch/0"),
            marks=needs_bsuite,
        ),
        pytest.param(
            *("bsuite:zzz", "bsuite has no such experiment; they are as catch/0"),
            marks=needs_bsuite,
        ),
        ("dm_env:own_environments", "must be dm_env:MODULE:FACTORY"),
        ("dm_env:no_such.module:make", "no_such.module cannot be imported: No module named 'no_s"),
        ("dm_env:own_environments:make", "own_environments has no function make"),
        ("dm_env:own_environments:number", "own_environments has no function number"),
        ("dm_env:own_environments:nothing", "must return a dm_env.Environment, got NoneType"),
        ("dm_env:own_environments:continuous", "actions must be discrete, the spec is Bounded"),
        ("dm_env:own_environments:two_arrays", "an observation must be one array, the spec is {"),
        ("dm_env:own_environments:scalar", "one array of numbers, of one axis or more, none of"),
        ("dm_env:own_environments:text", "the spec's dtype is object"),
        ("dm_env:own_environments:empty", "the spec's shape is (0, 3)"),
    ],
)
def test_what_cannot_be_made(name: str, message: str) -> None:
    tasks = parse_level_name(name)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        check_tasks(tasks, atari=AtariOptions())
    assert str(error.value).startswith(f"task {name!r}: ")
    assert "\n" not in str(error.value)


RAISED = [
    ("dm_env:own_environments:raising", "RuntimeError: licence server not reached"),
    ("dm_env:own_environments:lacking", "KeyError: 'SIMULATOR_HOME'"),
    ("dm_env:own_environments:ending", "SystemExit: 3"),
    ("dm_env:own_environments:silent", "AssertionError"),
    ("dm_env:own_environments:panicking", "Panic: called unwrap"),
    ("dm_env:own_environments:bad_spec", "TypeError: no rewards"),
    ("dm_env:own_environments:bad_end", "OSError: already closed"),
    ("dm_env:own_environments:without_seed", "TypeError: without_seed() takes 0 positional"),
    ("dm_env:own_broken:make", "SyntaxError: expected ':' (own_broken.py, line 1)"),
    ("dm_env:own_script:make", "SystemExit: usage: own_script FILE"),
    ("gym:own_script:Own-v0", "SystemExit: usage: own_script FILE"),
    ("gym:own_registered:Licence-v0", "RuntimeError: licence server not reached"),
    ("gym:own_registered:OldGym-v0", "TypeError: The environment must inherit from the gymnasium"),
]


@pytest.mark.parametrize(("name", "message"), RAISED)
def test_what_a_users_code_raises(name: str, message: str) -> None:
    """The error is one line that names the task; its cause has the traceback."""
    with pytest.raises(EnvironmentRaised) as error:
        check_tasks(parse_level_name(name), atari=AtariOptions())
    assert str(error.value).startswith(f"task {name!r}: {message}")
    assert "\n" not in str(error.value)
    assert type(error.value.__cause__).__name__ == message.partition(":")[0]


def test_an_interrupt_is_no_fault_of_the_environment() -> None:
    with pytest.raises(KeyboardInterrupt), reported("pong"):
        raise KeyboardInterrupt


def test_a_task_is_named_once() -> None:
    with pytest.raises(ValueError, match="^task 'a': too large$"), reported("a"), reported("a"):
        raise ValueError("too large")
    with pytest.raises(ValueError, match="^task 'a': ValueError$"), reported("a"), reported("a"):
        raise ValueError


@pytest.mark.parametrize("name", ["dm_env:environments.mine:make", "gym:environments.mine:Own-v0"])
def test_a_module_of_a_package_that_has_this_projects_name(name: str) -> None:
    with pytest.raises(ValueError) as error:
        check_tasks(parse_level_name(name), atari=AtariOptions())
    folder = pathlib.Path(environments.__file__).parent
    assert str(error.value) == (
        f"task {name!r}: environments.mine cannot be imported: No module named "
        f"'environments.mine'; the package 'environments' is that of {folder}"
    )


def test_bsuite_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bsuite", None)
    with pytest.raises(ValueError) as error:
        check_tasks(parse_level_name("bsuite:catch/0"), atari=AtariOptions())
    assert str(error.value) == (
        "task 'bsuite:catch/0': needs the package bsuite: install the extra [bsuite]"
    )


class GymnasiumConformance(test_utils.EnvironmentTestMixin, absltest.TestCase):
    def make_object_under_test(self) -> object:
        family = FAMILIES["gym"]
        assert isinstance(family, DmFamily)
        return family.make_alone(parse_level_name("gym:CartPole-v1")[0], seed=0)
