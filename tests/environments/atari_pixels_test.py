"""Our Atari environments show exactly what gymnasium's wrappers show."""

import functools
from typing import NamedTuple

import ale_py
import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

from environments import AtariOptions, parse_level_name
from environments.atari import AtariBatch, AtariEnvironment

gymnasium.register_envs(ale_py)

# Gymnasium's names, and enough agent steps for the random play below to end at least one game.
GAMES = {"Pong": 1000, "Breakout": 400}
# No no-ops: gymnasium draws their number from another generator.
OPTIONS = AtariOptions(noop_max=0)
CAPPED = AtariOptions(noop_max=0, max_frames_per_episode=402)  # not a multiple of the action repeat


class Step(NamedTuple):
    action: int
    reward: float
    terminated: bool
    truncated: bool
    features: np.ndarray  # uint8 [4, 84, 84], after the action
    next_features: np.ndarray  # the same, or the next game's first if the game ended


@functools.cache
def reference(
    game: str, options: AtariOptions, num_steps: int, action_seed: int = 7
) -> tuple[np.ndarray, list[Step]]:
    """Plays at random through gymnasium's wrappers; returns the first features and the steps."""
    environment: gymnasium.Env = gymnasium.make(
        f"ALE/{game}-v5",
        frameskip=1,
        repeat_action_probability=0.0,
        full_action_space=True,
        max_num_frames_per_episode=options.max_frames_per_episode,
    )
    environment = AtariPreprocessing(environment, noop_max=0, frame_skip=4, screen_size=84)
    environment = FrameStackObservation(environment, 4, padding_type="zero")
    random = np.random.default_rng(action_seed)
    first, _ = environment.reset(seed=0)
    steps = []
    for _ in range(num_steps):
        action = int(random.integers(18))
        features, reward, terminated, truncated, _ = environment.step(action)
        next_features = environment.reset()[0] if terminated or truncated else features
        steps.append(
            Step(
                action, float(reward), terminated, truncated, features.copy(), next_features.copy()
            )
        )
    return first.copy(), steps


def cases() -> list[tuple[str, AtariOptions, int]]:
    return [(game, OPTIONS, steps) for game, steps in GAMES.items()] + [("Breakout", CAPPED, 150)]


@pytest.mark.parametrize("game, options, num_steps", cases())
def test_batch_equals_gymnasium(game: str, options: AtariOptions, num_steps: int) -> None:
    first, steps = reference(game, options, num_steps)
    assert any(step.terminated or step.truncated for step in steps)
    assert any(step.reward for step in steps)

    batch = AtariBatch(parse_level_name(game), [0], options=options, seed=3)
    np.testing.assert_array_equal(batch.reset().observation.features, first[None])
    for step in steps:
        ours = batch.step(np.array([step.action]))
        np.testing.assert_array_equal(ours.observation.features[0], step.next_features)
        assert ours.reward[0] == step.reward
        assert ours.discount[0] == (0 if step.terminated else 1)
        assert ours.first[0] == ours.episode_end[0] == (step.terminated or step.truncated)
        if ours.first[0]:
            np.testing.assert_array_equal(batch.final_features[0], step.features)
        if step.truncated:
            np.testing.assert_array_equal(ours.final_features[0], step.features)


@pytest.mark.parametrize("game, options, num_steps", cases())
def test_dm_env_view_equals_gymnasium(game: str, options: AtariOptions, num_steps: int) -> None:
    first, steps = reference(game, options, num_steps)
    environment = AtariEnvironment(parse_level_name(game), 0, options=options, seed=3)
    np.testing.assert_array_equal(environment.reset().observation.features, first)
    for step in steps:
        ours = environment.step(step.action)
        np.testing.assert_array_equal(ours.observation.features, step.features)
        assert ours.reward == step.reward
        assert ours.discount == (0 if step.terminated else 1)
        assert ours.last() == (step.terminated or step.truncated)
        if ours.last():
            ours = environment.reset()
            assert ours.first()
            np.testing.assert_array_equal(ours.observation.features, step.next_features)


def test_each_game_of_a_mixed_batch_equals_gymnasium() -> None:
    games = ["Pong", "Riverraid", "Seaquest", "Breakout"]
    tasks = parse_level_name(",".join(games))
    indices = [2, 0, 1, 3, 0, 2]
    action_seeds = [7, 7, 7, 7, 8, 8]  # two environments of one game play it differently
    num_steps = 150  # enough for a game to be cut off
    batch = AtariBatch(tasks, indices, options=CAPPED, seed=3)
    runs = [
        reference(games[index], CAPPED, num_steps, action_seed)
        for index, action_seed in zip(indices, action_seeds, strict=True)
    ]
    np.testing.assert_array_equal(
        batch.reset().observation.features, np.stack([first for first, _ in runs])
    )
    for t in range(num_steps):
        ours = batch.step(np.array([steps[t].action for _, steps in runs]))
        np.testing.assert_array_equal(ours.observation.task, indices)
        for i, (_, steps) in enumerate(runs):
            np.testing.assert_array_equal(ours.observation.features[i], steps[t].next_features)
            assert ours.reward[i] == steps[t].reward
            assert ours.first[i] == (steps[t].terminated or steps[t].truncated)
            assert ours.discount[i] == (0 if steps[t].terminated else 1)
