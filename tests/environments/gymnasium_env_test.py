"""Gymnasium's environments seen as dm_env environments."""

import sys
from typing import Any

import ale_py
import cv2
import dm_env
import gymnasium
import numpy as np
import pytest
from dm_env import specs
from gymnasium import spaces

from environments import Observation, StackedFrames
from environments.gymnasium_env import (
    GymnasiumEnvironment,
    make_filmed_gymnasium,
    make_gymnasium,
)
from environments.images import FRAMES, grey, resized

gymnasium.register_envs(ale_py)


class Scripted(gymnasium.Env[Any, Any]):
    """Shows samples of a space; after three steps, ends in the way that `end` says, if any."""

    def __init__(
        self, space: spaces.Space[Any], actions: spaces.Space[Any] | None = None, end: str = ""
    ):
        self.observation_space = space
        self.action_space = actions or spaces.Discrete(2)
        self.shown: list[Any] = []
        self.actions: list[int] = []
        self.seeds: list[int | None] = []
        self._end = end
        self._steps = 0

    def _show(self) -> Any:
        self.shown.append(self.observation_space.sample())
        return self.shown[-1]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self.seeds.append(seed)
        self._steps = 0
        return self._show(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.actions.append(action)
        self._steps += 1
        over = self._steps == 3
        return (
            self._show(),
            float(self._steps),
            over and "terminated" in self._end,
            over and "truncated" in self._end,
            {},
        )


def box(low: float, high: float, shape: tuple[int, ...], dtype: Any = np.float32) -> spaces.Box:
    return spaces.Box(low, high, shape, dtype)


@pytest.mark.parametrize("name", ["CartPole-v1", "Acrobot-v1", "Blackjack-v1", "FrozenLake-v1"])
def test_every_step_is_that_of_the_raw_environment(name: str) -> None:
    environment, raw = make_gymnasium(name, seed=7), gymnasium.make(name)
    rng = np.random.default_rng(0)
    seed: int | None = 7
    ends = 0
    for _ in range(10):
        timestep = environment.reset()
        observation, _ = raw.reset(seed=seed)
        seed = None
        assert timestep.first()
        for _ in range(50):
            expected = spaces.flatten(raw.observation_space, observation)
            np.testing.assert_array_equal(timestep.observation, np.asarray(expected, np.float32))
            environment.observation_spec().validate(timestep.observation)
            if timestep.last():
                break
            action = rng.integers(environment.action_spec().num_values, dtype=np.int32)
            timestep = environment.step(action)
            observation, reward, terminated, truncated, _ = raw.step(int(action))
            assert timestep.reward == reward
            assert timestep.last() == (terminated or truncated)
            assert timestep.discount == (0.0 if terminated else 1.0)
            ends += timestep.last()
    assert ends > 0 or name == "Acrobot-v1"
    environment.close()


def play(environment: dm_env.Environment, actions: int, steps: int) -> list[dm_env.TimeStep]:
    return [environment.reset(), *(environment.step(i % actions) for i in range(steps))]


def test_the_registered_time_limit_truncates() -> None:
    timesteps = play(make_gymnasium("MountainCar-v0", seed=0), 2, 200)
    assert [timestep.last() for timestep in timesteps] == [False] * 200 + [True]
    assert timesteps[-1].discount == 1.0
    assert timesteps[-1].reward == -1.0


@pytest.mark.parametrize(
    ("end", "discount"), [("terminated", 0.0), ("truncated", 1.0), ("terminated truncated", 0.0)]
)
def test_ends_of_an_episode(end: str, discount: float) -> None:
    raw = Scripted(box(0, 1, (2,)), end=end)
    environment = GymnasiumEnvironment(raw, seed=3)
    timesteps = [environment.step(0) for _ in range(5)]  # the first and the last one start episodes
    assert [t.step_type.name for t in timesteps] == ["FIRST", "MID", "MID", "LAST", "FIRST"]
    assert [t.reward for t in timesteps] == [None, 1.0, 2.0, 3.0, None]
    assert [t.discount for t in timesteps] == [None, 1.0, 1.0, discount, None]
    assert raw.seeds == [3, None]


def test_actions_of_a_space_that_does_not_start_at_0() -> None:
    raw = Scripted(box(0, 1, (2,)), spaces.Discrete(3, start=-1))
    environment = GymnasiumEnvironment(raw, seed=0)
    assert environment.action_spec() == specs.DiscreteArray(3, np.int32)
    play(environment, 3, 3)
    assert raw.actions == [-1, 0, 1]


@pytest.mark.parametrize(
    ("space", "size"),
    [
        (box(-np.inf, np.inf, (5,), np.float64), 5),
        (box(0, 255, (128,), np.uint8), 128),
        (box(0, 10, (7, 7, 3), np.uint8), 147),  # symbols, not colours
        (box(-1, 1, (50, 50)), 2_500),
        (spaces.Discrete(6, start=2), 6),
        (spaces.MultiBinary(4), 4),
        (spaces.MultiDiscrete([2, 3]), 5),
        (spaces.Tuple([spaces.Discrete(2), box(0, 1, (3,))]), 5),
        (spaces.Dict(a=spaces.Discrete(2), b=spaces.Dict(c=box(0, 1, (3,)))), 5),
    ],
)
def test_vectors(space: spaces.Space[Any], size: int) -> None:
    raw = Scripted(space)
    environment = GymnasiumEnvironment(raw, seed=0)
    assert environment.observation_spec() == specs.Array((size,), np.float32)
    timesteps = play(environment, 2, 4)
    for timestep, shown in zip(timesteps, raw.shown, strict=True):
        environment.observation_spec().validate(timestep.observation)
        flat = spaces.flatten(space, shown)
        np.testing.assert_array_equal(timestep.observation, np.asarray(flat, np.float32))


def test_one_hots() -> None:
    environment = GymnasiumEnvironment(Scripted(spaces.Discrete(3, start=5)), seed=0)
    for timestep in play(environment, 2, 10):
        assert sorted(timestep.observation) == [0, 0, 1]


def test_text_is_left_out() -> None:
    numbers: dict[str, spaces.Space[Any]] = {
        "direction": spaces.Discrete(4),
        "image": box(0, 10, (7, 7, 3), np.uint8),
    }
    raw = Scripted(spaces.Dict({**numbers, "mission": spaces.Text(9)}))
    environment = GymnasiumEnvironment(raw, seed=0)
    assert environment.observation_spec() == specs.Array((151,), np.float32)
    observation = environment.reset().observation
    kept = {key: raw.shown[0][key] for key in numbers}
    flat = spaces.flatten(spaces.Dict(numbers), kept)
    np.testing.assert_array_equal(observation, np.asarray(flat, np.float32))


@pytest.mark.parametrize("shape", [(210, 160, 3), (96, 96, 1), (84, 84), (40, 50, 3)])
def test_images(shape: tuple[int, ...]) -> None:
    raw = Scripted(box(0, 255, shape, np.uint8), end="truncated")
    environment = GymnasiumEnvironment(raw, seed=0)
    assert environment.observation_spec() == FRAMES == StackedFrames((4, 84, 84), np.uint8, 0, 255)
    timesteps = [environment.step(0) for _ in range(8)]
    frames = [resized(grey(image), 84, 84) for image in raw.shown]
    for i, timestep in enumerate(timesteps):
        begin = 0 if i < 4 else 4  # a new episode
        stack = [np.zeros((84, 84), np.uint8)] * 4 + frames[begin : i + 1]
        np.testing.assert_array_equal(timestep.observation, np.stack(stack[-4:]))
        environment.observation_spec().validate(timestep.observation)


@pytest.mark.parametrize("shape", [(210, 160), (168, 84), (100, 333)])
def test_grey_and_resizing_are_opencvs(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(256, size=(*shape, 3), dtype=np.uint8)
    expected = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    assert np.abs(grey(image).astype(int) - expected.astype(int)).max() <= 1
    small = cv2.resize(expected, (84, 84), interpolation=cv2.INTER_AREA)
    assert np.abs(resized(expected, 84, 84).astype(int) - small.astype(int)).max() <= 1


def test_resizing() -> None:
    image = np.array([[0, 100], [200, 40]], np.uint8)
    np.testing.assert_array_equal(resized(image, 1, 1), [[85]])
    np.testing.assert_array_equal(resized(image, 2, 2), image)
    np.testing.assert_array_equal(resized(image, 4, 4), image.repeat(2, 0).repeat(2, 1))
    # Three rows become two, each made of one and a half of the old ones.
    rows = np.array([[0], [30], [90]], np.uint8)
    np.testing.assert_array_equal(resized(rows, 2, 1), [[10], [70]])
    np.testing.assert_array_equal(resized(np.full((70, 90), 255, np.uint8), 84, 84), 255)


def test_a_real_environment_of_images() -> None:
    environment = make_gymnasium("ale_py:ALE/Breakout-v5", seed=0)
    timesteps = play(environment, 4, 6)
    assert timesteps[-1].observation.shape == (4, 84, 84)
    assert timesteps[-1].observation.any(axis=(1, 2)).all()
    environment.close()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CarPole-v1", "Environment `CarPole` doesn't exist. Did you mean: `CartPole`?"),
        ("CartPole-v7", "version `v7` for environment `CartPole` doesn't exist"),
        ("CartPole", "give the version, so that the task stays the same: CartPole-v1"),
        ("no_such_module:CartPole-v1", "no_such_module"),
        ("Pendulum-v1", r"actions must be discrete, the action space is Box\(-2.0, 2.0, "),
        ("Ant-v5", "MuJoCo is not installed"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*WARN")
def test_names_that_are_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_gymnasium(name, seed=0)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Text(5), r"numbers of a fixed size, the observation space is Text\(1, 5"),
        (spaces.Sequence(spaces.Discrete(2)), "the observation space is Sequence"),
        (spaces.Dict(a=spaces.Text(5)), r"the observation space is Dict\('a'"),
        (spaces.Dict(a=spaces.Sequence(spaces.Discrete(2))), "the observation space is Dict"),
        (box(0, 255, (50, 60, 70), np.uint8), r"images must be \[H, W\], .* are \[50, 60, 70\]"),
        (box(0, 255, (50, 50, 3, 2), np.uint8), "images must be"),
    ],
)
def test_observations_that_are_refused(space: spaces.Space[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GymnasiumEnvironment(Scripted(space), seed=0)


@pytest.mark.parametrize("space", [box(-1, 1, (2,)), spaces.MultiDiscrete([2, 2])])
def test_actions_that_are_refused(space: spaces.Space[Any]) -> None:
    with pytest.raises(ValueError, match="actions must be discrete, the action space is "):
        GymnasiumEnvironment(Scripted(box(0, 1, (2,)), space), seed=0)


NO_TASK = np.array(0, np.int32)


def test_a_film_shows_what_the_environment_renders() -> None:
    """ALE's own environments draw without pygame."""
    environment, screen = make_filmed_gymnasium("ALE/Pong-v5", seed=3)
    raw = gymnasium.make("ALE/Pong-v5", render_mode="rgb_array")
    raw.reset(seed=3)
    environment.reset()
    assert screen.frames is not None
    assert screen.missing == ""
    assert screen.frames_per_second == raw.metadata["render_fps"]
    assert screen.action_names == tuple(map(str, range(6)))
    for action in (0, 2, 3, 2, 5):
        timestep = environment.step(action)
        raw.step(action)
        picture = screen.frames(Observation(timestep.observation, NO_TASK))
        np.testing.assert_array_equal(picture, np.asarray(raw.render())[None])
    assert picture.shape == (1, 210, 160, 3)


def test_a_film_without_what_the_environment_draws_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygame", None)
    environment, screen = make_filmed_gymnasium("CartPole-v1", seed=7)
    assert screen.frames is None
    assert screen.missing.startswith("DependencyNotInstalled: pygame is not installed, ")
    assert screen.frames_per_second == 50
    plain = make_gymnasium("CartPole-v1", seed=7)
    np.testing.assert_array_equal(plain.reset().observation, environment.reset().observation)


class Drawn(Scripted):
    """Renders `drawn`, or raises it if it is an exception."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}

    def __init__(self, drawn: Any, render_mode: str | None = None):
        super().__init__(box(0, 1, (1,)), end="terminated")
        self._drawn = drawn

    def render(self) -> Any:
        if isinstance(self._drawn, BaseException):
            raise self._drawn
        return self._drawn


@pytest.mark.parametrize(
    ("drawn", "missing"),
    [
        (RuntimeError("could not open display"), "RuntimeError: could not open display"),
        (SystemExit(1), "SystemExit: 1"),
        (None, "render() returned None"),
        (np.zeros((64, 64, 4), np.uint8), ""),
        (np.full((64, 64, 3), 0.8), ""),
    ],
)
def test_a_film_of_what_draws_badly(drawn: Any, missing: str) -> None:
    gymnasium.register("Drawn-v0", lambda **options: Drawn(drawn, **options))
    try:
        environment, screen = make_filmed_gymnasium("Drawn-v0", seed=0)
    finally:
        del gymnasium.registry["Drawn-v0"]
    assert (screen.missing, screen.frames_per_second) == (missing, 5)
    assert (screen.frames is None) == bool(missing)
    if screen.frames is not None:
        picture = screen.frames(Observation(environment.reset().observation, NO_TASK))
        assert (picture.shape, picture.dtype) == ((1, 64, 64, 3), np.uint8)
        assert picture.max() == (204 if drawn.dtype == np.float64 else 0)


def test_a_film_of_what_only_observes_pictures() -> None:
    """An environment that cannot render is shown as the agent sees it."""

    def make(**options: Any) -> Scripted:
        assert not options  # it takes no render_mode
        return Scripted(box(0, 255, (50, 60, 3), np.uint8), end="terminated")

    gymnasium.register("ScriptedPictures-v0", make)
    try:
        environment, screen = make_filmed_gymnasium("ScriptedPictures-v0", seed=0)
    finally:
        del gymnasium.registry["ScriptedPictures-v0"]
    assert screen.frames is not None
    features = environment.reset().observation
    picture = screen.frames(Observation(features, NO_TASK))
    np.testing.assert_array_equal(picture, np.stack([features[-1]] * 3, -1)[None])
