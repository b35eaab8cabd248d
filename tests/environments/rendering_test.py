"""Pictures of environments, and the names of their actions."""

import dm_env
import numpy as np
import pytest
from dm_env import specs

from environments import TASKS, AtariOptions, Observation, make_filmed_environment, parse_level_name
from environments.rendering import NoPicture, Pictures, rate_of, screen_of


class Made(dm_env.Environment):
    """Shows one given array."""

    action_names: list[str]

    def __init__(self, spec: specs.Array, shown: np.ndarray):
        self._spec = spec
        self.shown = shown

    def reset(self) -> dm_env.TimeStep:
        return dm_env.restart(self.shown)

    def step(self, action: int) -> dm_env.TimeStep:
        return dm_env.termination(0.0, self.shown)

    def observation_spec(self) -> specs.Array:
        return self._spec

    def action_spec(self) -> specs.DiscreteArray:
        return specs.DiscreteArray(2, np.int32, "action")


class Rendering(Made):
    def render(self) -> np.ndarray:
        return np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


def seen(environment: Made) -> np.ndarray:
    screen = screen_of(environment)
    assert screen.frames is not None
    assert screen.missing == ""
    return screen.frames(Observation(environment.shown, np.array(0, np.int32)))


def test_what_an_environment_renders() -> None:
    spec = specs.BoundedArray((2, 2), np.float32, 0, 1)
    environment = Rendering(spec, np.zeros((2, 2), np.float32))
    np.testing.assert_array_equal(seen(environment), environment.render()[None])


def test_a_board_from_dark_grey_to_white() -> None:
    board = np.array([[-1, 0, 1], [1, 3, -9]], np.float32)  # the last two are out of bounds
    environment = Made(specs.BoundedArray(board.shape, np.float32, -1, 1), board)
    expected = np.array([[64, 160, 255], [255, 255, 64]], np.uint8)
    np.testing.assert_array_equal(seen(environment), np.stack([expected] * 3, -1)[None])
    assert screen_of(environment).frames_per_second == 5


PICTURE = np.random.default_rng(1).integers(256, size=(6, 9, 3), dtype=np.uint8)
DARK = np.random.default_rng(1).integers(2, size=(6, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        (PICTURE, PICTURE),
        (np.concatenate([PICTURE, PICTURE[:, :, :1]], axis=2), PICTURE),
        (PICTURE.transpose(2, 0, 1), PICTURE),
        (PICTURE[:, :, 0], PICTURE[:, :, :1].repeat(3, 2)),
        (PICTURE[:, :, :1], PICTURE[:, :, :1].repeat(3, 2)),
        (PICTURE[None, :, :, 0], PICTURE[:, :, :1].repeat(3, 2)),
        (PICTURE.astype(np.int64), PICTURE),
        (PICTURE.astype(np.float32), PICTURE),
        (PICTURE / 255.0, PICTURE),
        ((PICTURE / 255.0).astype(np.float32), PICTURE),
        ((PICTURE / 255.0).astype(np.float16).tolist(), PICTURE),
        (PICTURE > 127, (PICTURE > 127) * np.uint8(255)),
    ],
)
def test_pictures_of_many_kinds(drawn: object, expected: np.ndarray) -> None:
    picture = Pictures(lambda: drawn).draw()
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, expected)


def test_a_dark_picture_among_others_of_floats() -> None:
    shown = iter([PICTURE.astype(float), DARK.astype(float)])
    pictures = Pictures(lambda: next(shown))
    np.testing.assert_array_equal(pictures.draw(), PICTURE)
    np.testing.assert_array_equal(pictures.draw(), DARK)


@pytest.mark.parametrize(
    ("drawn", "reason"),
    [
        (None, "render() returned None"),
        ("+---+", "render() returned a text"),
        (np.zeros((3, 4, 5, 6)), "render() returned float64 [3, 4, 5, 6]; pictures are numbers of"),
        (np.zeros((5, 6, 2), np.uint8), "render() returned uint8 [5, 6, 2]; pictures are"),
        (np.zeros((0, 4, 3), np.uint8), "render() returned uint8 [0, 4, 3]; pictures are"),
        (np.full((5, 6, 3), "x"), "render() returned <U1 [5, 6, 3]; pictures are"),
        (object(), "render() returned object []; pictures are"),
        (np.full((5, 6, 3), np.nan), "render() returned float64 from nan to nan; pictures are of"),
        (np.full((5, 6, 3), -0.5), "render() returned float64 from -0.5 to -0.5; pictures are of"),
        (np.full((5, 6, 3), 999, np.uint16), "render() returned uint16 from 999 to 999; pictures"),
    ],
)
def test_what_is_no_picture(drawn: object, reason: str) -> None:
    with pytest.raises(NoPicture) as error:
        Pictures(lambda: drawn).draw()
    assert str(error.value).startswith(reason)


@pytest.mark.parametrize("kind", [RuntimeError, OSError, SystemExit, NotImplementedError])
def test_an_environment_that_cannot_draw(kind: type[BaseException]) -> None:
    def render() -> None:
        raise kind("could not\nopen display")

    with pytest.raises(NoPicture) as error:
        Pictures(render).draw()
    assert str(error.value) == f"{kind.__name__}: could not open display"


@pytest.mark.parametrize(
    ("metadata", "rate"),
    [
        ({"render_fps": 30}, 30.0),
        ({"render_fps": 0}, 7.0),
        ({"render_fps": np.nan}, 7.0),
        ({"render_fps": "fast"}, 7.0),
        ({}, 7.0),
        (None, 7.0),
    ],
)
def test_rates(metadata: object, rate: float) -> None:
    assert rate_of(metadata, 7.0) == rate


def test_the_newest_of_stacked_frames() -> None:
    stack = np.random.default_rng(0).integers(256, size=(4, 84, 84), dtype=np.uint8)
    environment = Made(specs.BoundedArray(stack.shape, np.uint8, 0, 255), stack)
    np.testing.assert_array_equal(seen(environment), np.stack([stack[-1]] * 3, -1)[None])


@pytest.mark.parametrize(
    "spec",
    [
        specs.Array((4,), np.float32),
        specs.Array((1, 6), np.float32),  # nothing says how dark a number is
        specs.BoundedArray((2, 2), np.float32, -np.inf, np.inf),
        specs.BoundedArray((2, 2, 2), np.float32, 0, 1),
    ],
)
def test_nothing_to_see(spec: specs.Array) -> None:
    screen = screen_of(Made(spec, np.zeros(spec.shape, np.float32)))
    assert screen.frames is None
    assert screen.missing == "it has no render(), and observes neither board nor picture"


def test_actions_are_numbers_unless_they_have_names() -> None:
    environment = Made(specs.Array((4,), np.float32), np.zeros(4, np.float32))
    assert screen_of(environment).action_names == ("0", "1")
    environment.action_names = ["hold", "buy"]
    assert screen_of(environment).action_names == ("hold", "buy")
    environment.action_names = ["hold"]
    with pytest.raises(ValueError, match="^action_names has 1 names; there are 2 actions$"):
        screen_of(environment)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("catch_x1", ("left", "stay", "right")),
        ("catch_rsl", ("right", "stay", "left")),
        ("choice_changing", ("left", "stay", "right")),
        ("streak_x100", ("left", "stay", "right")),
    ],
)
def test_toy_tasks(name: str, expected: tuple[str, ...]) -> None:
    environment, screen = make_filmed_environment([TASKS[name]], 0, atari=AtariOptions(), seed=1)
    assert screen.action_names == expected
    assert screen.frames is not None
    timestep = environment.reset()
    for _ in range(3):
        board = timestep.observation.features
        picture = screen.frames(timestep.observation)
        assert picture.shape == (1, *board.shape, 3)
        np.testing.assert_array_equal(picture[0, :, :, 0] == 255, board == 1)
        timestep = environment.step(2)


def test_toy_actions_do_what_they_are_called() -> None:
    for name in ("catch_lsr", "catch_slr", "catch_rsl"):
        tasks = parse_level_name(name)
        environment, screen = make_filmed_environment(tasks, 0, atari=AtariOptions(), seed=1)
        for action, meaning in enumerate(screen.action_names):
            environment.reset()
            row = environment.step(action).observation.features[-1]
            assert row.argmax() == 2 + {"left": -1, "stay": 0, "right": 1}[meaning]
