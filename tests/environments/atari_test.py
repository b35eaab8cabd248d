"""The Atari environments' own behaviour; atari_pixels_test.py tests their pixels."""

import os
from typing import Any

import ale_py
import numpy as np
import pytest
from absl.testing import absltest
from dm_env import test_utils

from environments import SUITES, TASKS, AtariOptions, BatchedTimeStep, Task, parse_level_name
from environments.atari import AtariBatch, AtariEnvironment, _divide, check_games

NO_NOOPS = AtariOptions(noop_max=0)


def make_batch(names: str, indices: list[int], seed: int = 0, **options: Any) -> AtariBatch:
    return AtariBatch(parse_level_name(names), indices, options=AtariOptions(**options), seed=seed)


def play(batch: AtariBatch, num_steps: int, num_actions: int = 18) -> list[BatchedTimeStep]:
    """Plays random actions, the same for every batch of the same size."""
    random = np.random.default_rng(0)
    steps = [batch.reset()]
    for _ in range(num_steps):
        steps.append(batch.step(random.integers(num_actions, size=batch.num_environments)))
    return steps


def frames(steps: list[BatchedTimeStep]) -> np.ndarray:
    """Features [T, N, 4, 84, 84]."""
    return np.stack([step.observation.features for step in steps])


def test_shapes_and_types() -> None:
    batch = make_batch("pong,seaquest", [1, 0, 1])
    spec: Any = batch.observation_spec()
    assert spec.task.num_values == 2
    assert batch.action_spec().num_values == 18
    assert batch.num_environments == 3
    np.testing.assert_array_equal(batch.tasks, [1, 0, 1])
    for step in (batch.reset(), batch.step(np.zeros(3, np.int32))):
        for i in range(3):
            spec.features.validate(step.observation.features[i])
            spec.task.validate(step.observation.task[i])
        np.testing.assert_array_equal(step.observation.task, batch.tasks)
        assert step.reward.dtype == step.discount.dtype == np.float32
        assert step.first.dtype == step.episode_end.dtype == np.bool_
        assert all(len(array) == 3 for array in step[1:])


def test_reset_starts_games_that_nothing_came_before() -> None:
    batch = make_batch("pong", [0, 0])
    play(batch, 3)
    step = batch.reset()
    assert step.first.all() and not step.episode_end.any()
    assert (step.reward == 0).all() and (step.discount == 1).all()
    assert (step.observation.features[:, :3] == 0).all()
    assert (step.observation.features[:, 3] > 0).any()


def test_later_steps_do_not_overwrite_arrays() -> None:
    batch = make_batch("breakout", [0, 0], noop_max=0, max_frames_per_episode=100)
    steps = [batch.reset()]
    copies = [[array.copy() for array in (*steps[0].observation, *steps[0][1:])]]
    random = np.random.default_rng(0)
    for _ in range(60):
        step = batch.step(random.integers(18, size=2))
        steps.append(step)
        copies.append([array.copy() for array in (*step.observation, *step[1:])])
    assert any(step.first.any() for step in steps[1:])
    for step, copied in zip(steps, copies, strict=True):
        for array, copy in zip((*step.observation, *step[1:]), copied, strict=True):
            np.testing.assert_array_equal(array, copy)


def test_a_seed_gives_the_same_games_again() -> None:
    # Sticky actions are random, and so is the number of no-ops at the start of a game.
    def run(seed: int, num_threads: int) -> np.ndarray:
        options = AtariOptions(max_frames_per_episode=120, repeat_action_probability=0.25)
        tasks = parse_level_name("pong,breakout")
        batch = AtariBatch(tasks, [0, 1, 1, 0], options=options, seed=seed, num_threads=num_threads)
        return frames(play(batch, 50))

    again = run(5, num_threads=1)
    np.testing.assert_array_equal(run(5, num_threads=4), again)
    assert (run(6, num_threads=1) != again).any()


def test_environments_of_a_batch_have_their_own_seeds() -> None:
    batch = make_batch("riverraid", [0] * 6)
    batch.reset()
    for _ in range(20):  # the same action everywhere: only the no-ops at the start differ
        features = batch.step(np.full(6, 3)).observation.features
    assert len({stack.tobytes() for stack in features}) > 1


def test_sticky_actions_change_the_game() -> None:
    plain = frames(play(make_batch("pong", [0], noop_max=0), 100))
    np.testing.assert_array_equal(
        frames(play(make_batch("pong", [0], seed=1, noop_max=0), 100)), plain
    )
    sticky = [
        frames(play(make_batch("pong", [0], seed, noop_max=0, repeat_action_probability=0.25), 100))
        for seed in (0, 1)
    ]
    assert (sticky[0] != plain).any()
    assert (sticky[0] != sticky[1]).any()


def test_frame_cap_truncates() -> None:
    # 90 frames: no-ops do not count, and the 23rd step's last two frames are not played.
    steps = play(make_batch("pong", [0, 0], max_frames_per_episode=90), 50)
    for t, step in enumerate(steps[1:], start=1):
        ended = t in (23, 46)
        np.testing.assert_array_equal(step.first, ended)
        np.testing.assert_array_equal(step.episode_end, ended)
        np.testing.assert_array_equal(step.discount, 1)
        assert (step.observation.features[:, :3] == 0).all() == ended


def test_life_loss_ends_the_episode_but_not_the_game() -> None:
    """Breakout, five lives: the same game is played with and without the option."""
    num_steps = 800
    whole = play(make_batch("breakout", [0, 0], noop_max=0), num_steps)
    lives = play(make_batch("breakout", [0, 0], noop_max=0, life_loss=True), num_steps)
    age = np.zeros(2, int)  # steps since the learning episode's start
    lost = np.zeros(2, int)  # lives lost in this game
    num_games = 0
    for t in range(1, num_steps + 1):
        np.testing.assert_array_equal(lives[t].reward, whole[t].reward)
        np.testing.assert_array_equal(lives[t].episode_end, whole[t].first)
        np.testing.assert_array_equal(lives[t].discount, np.where(lives[t].first, 0, 1))
        for i in range(2):
            age[i] = 0 if lives[t].first[i] else age[i] + 1
            lost[i] += lives[t].first[i]
            if lives[t].episode_end[i]:
                assert lost[i] == 5
                lost[i] = 0
                num_games += 1
            expected = whole[t].observation.features[i].copy()
            expected[: max(0, 3 - age[i])] = 0
            np.testing.assert_array_equal(lives[t].observation.features[i], expected)
    assert num_games >= 2


@pytest.mark.parametrize("options", [NO_NOOPS, AtariOptions(life_loss=True)])
def test_features_are_the_stacks_that_their_spec_promises(options: AtariOptions) -> None:
    batch = AtariBatch(parse_level_name("breakout"), [0, 0], options=options, seed=0)
    steps = play(batch, 400)
    assert sum(step.first.sum() for step in steps[1:]) > 1
    for before, after in zip(steps, steps[1:], strict=False):
        for i in range(2):
            stack = after.observation.features[i]
            old = np.zeros_like(stack[1:]) if after.first[i] else before.observation.features[i, 1:]
            np.testing.assert_array_equal(stack[:3], old)


def test_full_action_set_is_the_emulators_18_actions() -> None:
    """Pong's minimal actions play the same game as the joystick positions of the same names."""
    names = list(ale_py.Action.__members__)
    assert len(names) == 18
    minimal = ["NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"]
    full_batch = make_batch("pong", [0], noop_max=0)
    minimal_batch = make_batch("pong", [0], noop_max=0, action_set="minimal")
    assert minimal_batch.action_spec().num_values == 6
    full_batch.reset()
    minimal_batch.reset()
    random = np.random.default_rng(0)
    for _ in range(200):
        action = int(random.integers(6))
        ours = minimal_batch.step(np.array([action]))
        theirs = full_batch.step(np.array([names.index(minimal[action])]))
        np.testing.assert_array_equal(ours.observation.features, theirs.observation.features)


@pytest.mark.by_hand  # its result changes only with ale-py's version
def test_every_game_takes_all_18_actions() -> None:
    """ale-py would hang on an action that a game lacks, and Skiing has no fire button."""
    games = [name for name, task in TASKS.items() if task.domain == "atari"]
    assert len(games) == 104
    batch = make_batch(",".join(games), list(range(104)), noop_max=0)
    assert batch.action_spec().num_values == 18
    batch.reset()
    for action in range(18):
        batch.step(np.full(104, action))


def test_fire_does_nothing_in_skiing() -> None:
    batch = make_batch("skiing", [0, 0], noop_max=0)
    assert batch.action_spec().num_values == 18
    batch.reset()
    names = list(ale_py.Action.__members__)
    moved = 0
    for name in ("FIRE", "LEFTFIRE", "DOWNRIGHTFIRE", "UPFIRE", "RIGHTFIRE") * 10:
        with_fire, without = names.index(name), names.index(name.removesuffix("FIRE") or "NOOP")
        step = batch.step(np.array([with_fire, without]))
        np.testing.assert_array_equal(*step.observation.features)
        moved += int((step.observation.features[0, -1] != step.observation.features[0, 0]).any())
    assert moved > 10


def test_minimal_action_sets_of_several_games() -> None:
    minimal = AtariOptions(action_set="minimal")
    with pytest.raises(ValueError, match="pong .*breakout .*differ; use action_set='full'"):
        check_games(["pong", "breakout"], minimal)
    # Even an environment that plays only one of the games needs the other's action set.
    with pytest.raises(ValueError, match="differ"):
        make_batch("pong,breakout", [0], action_set="minimal")
    check_games(["riverraid", "seaquest"], minimal)  # all 18 actions in both


@pytest.mark.parametrize(
    "actions",
    [
        np.array([18, 0]),
        np.array([-1, 0]),
        np.array([0]),
        np.array([[0, 0]]),
        np.array([0.0, 1.0]),
    ],
)
def test_bad_actions_are_refused(actions: np.ndarray) -> None:
    # The emulator itself would wait for ever after an action out of range.
    batch = make_batch("pong", [0, 0])
    batch.reset()
    with pytest.raises(ValueError, match="actions must be"):
        batch.step(actions)
    batch.step(np.array([17, 0]))


def test_all_57_games_are_installed() -> None:
    check_games(SUITES["atari57"], AtariOptions())


@pytest.mark.parametrize("game", ["surround", "defender"])
def test_games_that_few_suites_have_can_be_played(game: str) -> None:
    steps = play(make_batch(game, [0]), 30)
    assert (frames(steps[4:]) > 0).any()


def test_missing_rom(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    task = Task("no_such_game", "atari", 0.0, 1.0, 4)
    with pytest.raises(FileNotFoundError, match="no ROM for the game 'no_such_game'"):
        AtariBatch([task], [0], options=AtariOptions(), seed=0)
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))  # where the emulator looks, if set
    with pytest.raises(FileNotFoundError, match="pong"):
        AtariBatch([TASKS["pong"]], [0], options=AtariOptions(), seed=0)


@pytest.mark.parametrize(
    "field, value, accepted",
    [
        ("action_set", "all", "'full', 'minimal'"),
        ("repeat_action_probability", 1.0, r"\[0, 1\)"),
        ("repeat_action_probability", float("nan"), r"\[0, 1\)"),
        ("noop_max", -1, r"\[0, 1000\]"),
        ("max_frames_per_episode", 0, "at least 1"),
    ],
)
def test_options_are_checked(field: str, value: Any, accepted: str) -> None:
    with pytest.raises(ValueError, match=f"{field} is .*{value}.*{accepted}"):
        AtariOptions(**{field: value})


def test_bad_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="task_indices is empty"):
        make_batch("pong", [])
    with pytest.raises(ValueError, match="num_threads is 0"):
        AtariBatch([TASKS["pong"]], [0], options=NO_NOOPS, seed=0, num_threads=0)


@pytest.mark.parametrize(
    "num_threads, counts, expected",
    [
        (2, [4], [2]),
        (8, [4], [4]),  # no more than environments
        (2, [2, 2, 2], [1, 1, 1]),  # at least one each
        (6, [2, 2, 2], [2, 2, 2]),
        (8, [12, 4], [6, 2]),
        (7, [4, 4, 4], [3, 2, 2]),
    ],
)
def test_threads_are_divided_in_proportion(
    num_threads: int, counts: list[int], expected: list[int]
) -> None:
    assert _divide(num_threads, counts) == expected


def test_close_ends_the_threads() -> None:
    before = len(os.listdir("/proc/self/task"))
    batch = make_batch("pong,breakout", [0, 1, 0, 1])
    batch.reset()
    assert len(os.listdir("/proc/self/task")) > before
    batch.close()
    assert len(os.listdir("/proc/self/task")) == before
    batch.close()
    with pytest.raises(RuntimeError, match="closed"):
        batch.step(np.zeros(4, np.int32))
    with pytest.raises(RuntimeError, match="closed"):
        batch.reset()


def test_dm_env_view_truncates_at_the_frame_cap() -> None:
    options = AtariOptions(max_frames_per_episode=40)
    environment = AtariEnvironment(parse_level_name("seaquest,pong"), 1, options=options, seed=0)
    for _ in range(3):
        step = environment.reset()
        assert step.first()
        for t in range(10):
            step = environment.step(0)
            assert step.last() == (t == 9)
            assert step.discount == 1
            assert step.observation.task == 1
        assert (step.observation.features[0] > 0).any()  # the ended game's frames, not the next's


def test_dm_env_view_goes_on_after_the_loss_of_a_life() -> None:
    tasks = parse_level_name("breakout")
    options = AtariOptions(noop_max=0, life_loss=True)
    environment = AtariEnvironment(tasks, 0, options=options, seed=0)
    batch = AtariBatch(tasks, [0], options=options, seed=0)
    batch.reset()
    environment.reset()
    random = np.random.default_rng(0)
    num_ends = 0
    for _ in range(400):
        action = int(random.integers(18))
        view, theirs = environment.step(action), batch.step(np.array([action]))
        assert (view.reward, view.discount) == (theirs.reward[0], theirs.discount[0])
        assert view.last() == theirs.first[0]
        if view.last():
            num_ends += 1
            assert view.discount == 0
            view = environment.reset()
        np.testing.assert_array_equal(view.observation.features, theirs.observation.features[0])
    assert num_ends > 5  # more than one game


def test_dm_env_view_starts_a_new_game_when_reset_in_the_middle() -> None:
    environment = AtariEnvironment(parse_level_name("pong"), 0, options=NO_NOOPS, seed=0)
    first = environment.reset().observation.features
    for _ in range(100):
        played = environment.step(2).observation.features
    assert (played[3] != first[3]).any()
    np.testing.assert_array_equal(environment.reset().observation.features, first)


class DmEnvContractTest(test_utils.EnvironmentTestMixin, absltest.TestCase):
    """dm_env's own interface tests, across ends of episodes."""

    def make_object_under_test(self) -> AtariEnvironment:
        options = AtariOptions(max_frames_per_episode=20)
        return AtariEnvironment(parse_level_name("pong"), 0, options=options, seed=0)
