"""Filmed Atari games: the same game as when not filmed, with every frame of it."""

import dm_env
import numpy as np
import pytest

from environments import TASKS, AtariOptions, Screen, make_environment, make_filmed_environment
from environments.images import resized

STICKY = AtariOptions(repeat_action_probability=0.25, max_frames_per_episode=402)


def filmed(game: str, options: AtariOptions, seed: int) -> tuple[dm_env.Environment, Screen]:
    return make_filmed_environment([TASKS[game]], 0, atari=options, seed=seed)


def assert_equal(a: dm_env.TimeStep, b: dm_env.TimeStep) -> None:
    assert (a.step_type, a.reward, a.discount) == (b.step_type, b.reward, b.discount)
    np.testing.assert_array_equal(a.observation.features, b.observation.features)


@pytest.mark.parametrize(
    ("game", "options"), [("pong", STICKY), ("breakout", AtariOptions()), ("seaquest", STICKY)]
)
def test_it_is_the_game_that_is_played_without_a_film(game: str, options: AtariOptions) -> None:
    """With sticky actions, across several ends, cut off or natural, and an early reset."""
    plain = make_environment([TASKS[game]], 0, atari=options, seed=3)
    environment, screen = filmed(game, options, seed=3)
    assert screen.frames is not None
    random = np.random.default_rng(0)
    assert_equal(plain.reset(), environment.reset())
    ends = 0
    for step in range(320):
        action = int(random.integers(18))
        expected, timestep = plain.step(action), environment.step(action)
        assert_equal(expected, timestep)
        pictures = screen.frames(timestep.observation)
        assert pictures.dtype == np.uint8
        if timestep.first():
            assert pictures.shape == (1, 210, 160, 3)
        elif timestep.mid():
            assert pictures.shape == (4, 210, 160, 3)
        else:
            ends += 1
            if options is STICKY:  # 402 frames: the last of 101 steps has only two
                assert pictures.shape == (2, 210, 160, 3)
        if step == 260:
            assert_equal(plain.reset(), environment.reset())
    assert ends >= 1
    plain.close()
    environment.close()


def test_a_game_with_a_larger_screen() -> None:
    environment, screen = filmed("air_raid", AtariOptions(), seed=1)
    assert screen.frames is not None
    timestep = environment.reset()
    assert screen.frames(timestep.observation).shape == (1, 250, 160, 3)
    environment.close()


def test_the_pictures_are_those_that_the_network_sees_in_grey() -> None:
    environment, screen = filmed("seaquest", AtariOptions(), seed=1)
    assert screen.frames is not None
    environment.reset()
    for step in range(60):
        timestep = environment.step(step % 18)
        pictures = screen.frames(timestep.observation).astype(np.float64)
        # The network's frame is the maximum of the last two in grey, resized to 84 x 84 by area.
        # ALE's grey is the rounded luma of its colours.
        grey = (pictures[-2:] @ [0.299, 0.587, 0.114]).max(0)
        expected = resized(np.rint(grey).astype(np.uint8), 84, 84).astype(int)
        np.testing.assert_allclose(timestep.observation.features[-1], expected, atol=3)
    assert (pictures[0] != pictures[-1]).any()  # something moves


def test_speed_and_names_are_the_emulators() -> None:
    _, screen = filmed("pong", AtariOptions(), seed=1)
    assert screen.frames_per_second == 60
    assert len(screen.action_names) == 18
    assert screen.action_names[:5] == ("NOOP", "FIRE", "UP", "RIGHT", "LEFT")
    _, screen = filmed("pong", AtariOptions(action_set="minimal"), seed=1)
    assert screen.action_names == ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")


def test_only_whole_games_are_filmed() -> None:
    with pytest.raises(ValueError, match="life_loss is True; only whole games are filmed"):
        filmed("pong", AtariOptions(life_loss=True), seed=1)
