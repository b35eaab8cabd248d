"""Procgen's games: the library's batches as ours, levels, time limits."""

import sys
import types

import numpy as np
import pytest
from procgen import ProcgenGym3Env

from environments import (
    SUITES,
    TASKS,
    AtariOptions,
    check_tasks,
    make_batched_environment,
    make_environment,
    make_filmed_environment,
    parse_level_name,
    scored_tasks,
    unseen_options,
)
from environments.procgen_games import FEATURES, GAMES, LEVELS

OPTIONS = AtariOptions()
NOOP = 4


@pytest.mark.parametrize("game", GAMES)
def test_a_batch_is_the_librarys(game: str) -> None:
    tasks = parse_level_name(f"procgen:{game}")
    ours = make_batched_environment(tasks, [0, 0], atari=OPTIONS, seed=3)
    rand_seed = int(np.random.SeedSequence(3).generate_state(1)[0] >> 1)
    theirs = ProcgenGym3Env(
        2, game, distribution_mode="easy", num_levels=200, rand_seed=rand_seed, num_threads=0
    )
    step, random = ours.reset(), np.random.default_rng(0)
    for _ in range(50):
        _, observation, _ = theirs.observe()
        features = step.observation.features
        assert FEATURES.validate(features[0]) is not None
        np.testing.assert_array_equal(features.transpose(0, 2, 3, 1), observation["rgb"])
        actions = random.integers(15, size=2)
        theirs.act(actions)
        step = ours.step(actions)
        reward, _, first = theirs.observe()
        np.testing.assert_array_equal(step.reward, reward)
        np.testing.assert_array_equal(step.first, first)
        np.testing.assert_array_equal(step.episode_end, first)
    ours.close()
    theirs.close()


def test_games_mix_in_any_order() -> None:
    tasks = parse_level_name("procgen4")
    batch = make_batched_environment(tasks, [3, 0, 1, 0], atari=OPTIONS, seed=1)
    assert batch.reset().observation.task.tolist() == [3, 0, 1, 0]
    step = batch.step(np.full(4, NOOP))
    assert step.observation.features.shape == (4, 3, 64, 64)
    assert batch.reset().abandoned.all()
    with pytest.raises(ValueError, match="actions must be in"):
        batch.step(np.full(4, 15))
    batch.close()
    with pytest.raises(RuntimeError, match="closed"):
        batch.step(np.full(4, NOOP))


@pytest.mark.parametrize("name", ["leaper", "coinrun"])
def test_a_time_limit_cuts_off(name: str) -> None:
    tasks = parse_level_name(f"procgen:{name}")
    environment = make_environment(tasks, 0, atari=OPTIONS, seed=0)
    timestep, steps = environment.reset(), 0
    while not timestep.last():
        timestep, steps = environment.step(NOOP), steps + 1
    assert steps == GAMES[name].time_limit
    assert timestep.discount == 1.0
    assert environment.step(NOOP).first()
    environment.close()


def test_an_end_is_no_cut() -> None:
    tasks = parse_level_name("procgen:starpilot")
    batch = make_batched_environment(tasks, [0] * 4, atari=OPTIONS, seed=0)
    batch.reset()
    steps = [batch.step(np.full(4, NOOP)) for _ in range(300)]
    first = np.stack([step.first for step in steps])
    assert first.any()
    np.testing.assert_array_equal(np.stack([step.discount for step in steps]), 1.0 - first)
    batch.close()


def test_scores_are_of_the_levels() -> None:
    tasks = parse_level_name("procgen16")
    assert len(tasks) == 16 and set(SUITES["procgen4"]) < set(SUITES["procgen16"])
    hard = scored_tasks(tasks, atari=AtariOptions(distribution_mode="hard"))
    for task, other in zip(tasks, hard, strict=True):
        game = GAMES[task.name.partition(":")[2]]
        assert (task.random_score, task.human_score) == game.easy
        assert (other.random_score, other.human_score) == game.hard


def test_unseen_levels_are_all_behind() -> None:
    tasks = parse_level_name("procgen:maze")
    unseen = unseen_options(tasks, atari=AtariOptions(num_levels=200, start_level=7))
    assert unseen is not None
    assert (unseen.start_level, unseen.num_levels) == (207, LEVELS - 207)
    assert unseen_options(tasks, atari=AtariOptions(num_levels=0)) is None
    assert unseen_options(parse_level_name("pong"), atari=OPTIONS) is None
    environment = make_environment(tasks, 0, atari=unseen, seed=0)
    assert environment.reset().first()
    environment.close()


@pytest.mark.parametrize(
    ("field", "value"),
    [("distribution_mode", "medium"), ("num_levels", -1), ("start_level", LEVELS)],
)
def test_options_are_checked(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{field} is "):
        AtariOptions(**{field: value})  # type: ignore[arg-type]


def test_a_film_is_the_same_game() -> None:
    task = TASKS["procgen:coinrun"]
    check_tasks([task], atari=OPTIONS)
    plain = make_environment([task], 0, atari=OPTIONS, seed=2)
    filmed, screen = make_filmed_environment([task], 0, atari=OPTIONS, seed=2)
    ours, theirs = plain.reset(), filmed.reset()
    for _ in range(20):
        np.testing.assert_array_equal(ours.observation.features, theirs.observation.features)
        assert screen.frames is not None
        assert screen.frames(theirs.observation).shape == (1, 512, 512, 3)
        ours, theirs = plain.step(7), filmed.step(7)
    assert len(screen.action_names) == 15
    plain.close()
    filmed.close()


class _Broken(types.ModuleType):
    """A package whose C++ library does not load on this machine."""

    def __getattr__(self, name: str) -> object:
        raise OSError("libenv.so: wrong ELF class")


@pytest.mark.parametrize(
    ("package", "message"),
    [
        (None, r"need the package procgen: install the extra \[procgen\]; there are wheels for "),
        (_Broken("procgen"), "Procgen does not load here: libenv.so: wrong ELF class"),
    ],
)
def test_without_the_package(
    package: types.ModuleType | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "procgen", package)
    with pytest.raises(ValueError, match=f"^tasks procgen:GAME.* {message}"):
        check_tasks(parse_level_name("procgen:coinrun"), atari=OPTIONS)
