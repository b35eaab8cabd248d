"""MinAtar's games against the library itself, and batches against single games."""

import subprocess
import sys
from typing import Any

import minatar
import numpy as np
import pytest

from environments import (
    SUITES,
    TASKS,
    AtariOptions,
    BatchedDmEnvironments,
    check_tasks,
    make_batched_environment,
    make_environment,
    make_filmed_environment,
    parse_level_name,
)
from environments.minatar import MinAtarBatch, MinAtarEnvironment, _load
from environments.minatar_games import ACTION_NAMES, FEATURES, GAMES, MAX_STEPS

OPTIONS = AtariOptions()
NOOP = 0


def library(game: str, seed: int) -> Any:
    """The library's own environment, with our source of random numbers."""
    environment = minatar.Environment(game)
    environment.random = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
    environment.env.random = environment.random
    return environment


@pytest.mark.parametrize("name", SUITES["minatar"] + SUITES["minatar_scales"][1:])
def test_a_game_is_the_librarys(name: str) -> None:
    ours, theirs = MinAtarEnvironment(TASKS[name], seed=5), library(GAMES[name].module, seed=5)
    actions = np.random.default_rng(0).integers(6, size=4_000).tolist()
    factor = int(name.rpartition("_x")[2]) if "_x" in name else 1
    planes = theirs.state_shape()[2]

    def shown() -> np.ndarray:
        return np.pad(theirs.state(), ((0, 0), (0, 0), (0, 10 - planes)))

    timestep, ends, total = ours.reset(), 0, 0.0
    theirs.reset()
    for action in actions:
        assert FEATURES.validate(timestep.observation) is not None
        np.testing.assert_array_equal(timestep.observation, shown())
        if timestep.last():
            ends += 1
            timestep = ours.step(action)  # starts an episode, whatever the action is
            assert timestep.first()
            theirs.reset()
            continue
        timestep = ours.step(action)
        reward, terminal = theirs.act(action)
        assert timestep.reward == factor * reward
        assert timestep.last() == terminal
        assert timestep.discount == (0.0 if terminal else 1.0)
        total += reward
    assert ends > 0
    assert total > 0 or "freeway" in name


def test_the_specs() -> None:
    for name in SUITES["minatar"]:
        environment = MinAtarEnvironment(TASKS[name], seed=0)
        assert environment.observation_spec() == FEATURES
        assert environment.action_spec().num_values == library("freeway", 0).num_actions() == 6
    check_tasks(parse_level_name("minatar"), atari=OPTIONS)


def test_a_long_episode_is_cut_off() -> None:
    # In Seaquest, nothing ever reaches a player that stays at the surface.
    environment = MinAtarEnvironment(TASKS["minatar:seaquest"], seed=0)
    for _ in range(2):
        environment.reset()
        for _ in range(MAX_STEPS - 1):
            assert environment.step(NOOP).mid()
        timestep = environment.step(NOOP)
        assert timestep.last()
        assert timestep.discount == 1.0
    assert environment.step(NOOP).first()


def test_freeway_ends_by_itself_before() -> None:
    environment = MinAtarEnvironment(TASKS["minatar:freeway"], seed=0)
    timestep, steps = environment.reset(), 0
    while not timestep.last():
        timestep, steps = environment.step(NOOP), steps + 1
    assert (steps, timestep.discount) == (2_501, 0.0)


def test_a_batch_is_its_games_one_by_one() -> None:
    tasks = parse_level_name("minatar_scales")
    indices = [4, 0, 0, 2, 3, 1, 4]
    batch = make_batched_environment(tasks, indices, atari=OPTIONS, seed=3)
    assert isinstance(batch, MinAtarBatch)
    seeds = np.random.SeedSequence(3).generate_state(len(indices)).tolist()
    singles = BatchedDmEnvironments(
        [
            make_environment(tasks, index, atari=OPTIONS, seed=seed)
            for index, seed in zip(indices, seeds, strict=True)
        ]
    )
    assert batch.observation_spec() == singles.observation_spec()
    assert batch.action_spec() == singles.action_spec()
    np.testing.assert_array_equal(batch.tasks, indices)
    random = np.random.default_rng(1)
    steps = [(batch.reset(), singles.reset())]
    for i in range(800):
        if i == 400:
            steps.append((batch.reset(), singles.reset()))
        actions = random.integers(6, size=len(indices))
        steps.append((batch.step(actions), singles.step(actions)))
    # Compared at the end: a later step must not have overwritten anything.
    for ours, theirs in steps:
        for mine, other in zip(ours[1:], theirs[1:], strict=True):
            assert mine.dtype == other.dtype
            np.testing.assert_array_equal(mine, other)
        np.testing.assert_array_equal(ours.observation.task, theirs.observation.task)
        assert ours.observation.features.dtype == np.bool_
        np.testing.assert_array_equal(ours.observation.features, theirs.observation.features)
    assert sum(ours.episode_end.sum() for ours, _ in steps) > 50
    batch.close()


def test_a_batchs_long_episode_is_cut_off() -> None:
    tasks = parse_level_name("minatar:seaquest,minatar:freeway")
    batch = make_batched_environment(tasks, [0, 1], atari=OPTIONS, seed=0)
    batch.reset()
    ends = []
    for t in range(1, MAX_STEPS + 2):
        step = batch.step(np.zeros(2, np.int32))
        for i in np.flatnonzero(step.first):
            ends.append((t, int(i), float(step.discount[i]), bool(step.episode_end[i])))
    assert ends == [(2_501, 1, 0.0, True), (5_000, 0, 1.0, True)]


def test_actions_that_do_not_exist_are_refused() -> None:
    batch = make_batched_environment(parse_level_name("minatar"), [0, 1], atari=OPTIONS, seed=0)
    batch.reset()
    with pytest.raises(ValueError, match=r"actions must be in \[0, 6\)"):
        batch.step(np.array([0, 6]))


@pytest.mark.parametrize("seed", [0, 2**32, 2**63])
def test_any_seed_will_do(seed: int) -> None:
    MinAtarEnvironment(TASKS["minatar:asterix"], seed).reset()


@pytest.mark.parametrize("name", SUITES["minatar"])
def test_random_score_is_what_random_play_earns(name: str) -> None:
    environment = MinAtarEnvironment(TASKS[name], seed=11)
    random = np.random.default_rng(12)
    returns = []
    for _ in range(25 if "freeway" in name else 200):
        timestep = environment.reset()
        returns.append(0.0)
        while not timestep.last():
            timestep = environment.step(random.integers(6))
            returns[-1] += timestep.reward
    error = np.std(returns, ddof=1) / np.sqrt(len(returns))
    assert error > 0
    random_score = TASKS[name].random_score
    assert random_score is not None
    assert abs(np.mean(returns) - random_score) < 4 * error


@pytest.mark.parametrize("name", SUITES["minatar"])
def test_the_picture_shows_every_object(name: str) -> None:
    tasks = parse_level_name(name)
    environment, screen = make_filmed_environment(tasks, 0, atari=OPTIONS, seed=0)
    assert screen.action_names == ACTION_NAMES
    assert screen.frames is not None
    random = np.random.default_rng(0)
    timestep = environment.reset()
    colours = set()
    for _ in range(300):
        (picture,) = screen.frames(timestep.observation)
        assert (picture.dtype, picture.shape) == (np.uint8, (10, 10, 3))
        board = timestep.observation.features
        background = (picture == picture[0, 0]).all(-1) if not board[0, 0].any() else None
        if background is not None:
            np.testing.assert_array_equal(background, ~board.any(-1))
        ((row, column),) = np.argwhere(board[:, :, 0])  # the player is never hidden
        assert picture[row, column].min() == 255
        colours |= {tuple(colour) for colour in picture.reshape(-1, 3)}
        timestep = environment.step(random.integers(6))
    assert len(colours) >= 4


def test_only_the_games_are_loaded() -> None:
    program = (
        "import sys\n"
        "from environments import AtariOptions, make_environment, parse_level_name\n"
        "for task in parse_level_name('minatar'):\n"
        "    make_environment([task], 0, atari=AtariOptions(), seed=0).reset()\n"
        "others = {'minatar', 'seaborn', 'pandas', 'scipy', 'matplotlib', 'gymnasium'}\n"
        "assert not others & set(sys.modules), others & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    _load.cache_clear()
    monkeypatch.setitem(sys.modules, "minatar", None)  # as if it were not installed
    with pytest.raises(ValueError, match="task 'minatar:breakout': needs the package minatar; "):
        check_tasks(parse_level_name("minatar:breakout"), atari=OPTIONS)
