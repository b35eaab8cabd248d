"""ViZDoom's scenarios: actions, screens, time limits, engines that die."""

import os
import sys

import numpy as np
import psutil
import pytest
import vizdoom

from environments import (
    SUITES,
    AtariOptions,
    GuardedEnvironment,
    check_tasks,
    make_batched_environment,
    make_environment,
    make_filmed_environment,
    parse_level_name,
)
from environments.doom import random_returns
from environments.doom_scenarios import ACTION_NAMES, BUTTONS, FEATURES, SCENARIOS
from environments.guarded import EnvironmentFailure

OPTIONS = AtariOptions()
NOOP = 0


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))  # the engine makes a folder in its working directory


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_plays(scenario: str) -> None:
    tasks = parse_level_name(f"doom:{scenario}")
    environment = make_environment(tasks, 0, atari=OPTIONS, seed=1)
    timestep = environment.reset()
    for action in range(len(ACTION_NAMES)):
        assert FEATURES.validate(timestep.observation.features) is not None
        timestep = environment.step(action)
    assert timestep.observation.features.std() > 5  # not black
    environment.close()


def test_the_buttons_are_the_scenarios() -> None:
    found = set()
    for scenario in SCENARIOS.values():
        game = vizdoom.DoomGame()
        game.load_config(os.path.join(vizdoom.scenarios_path, f"{scenario.config}.cfg"))
        found |= {button.name for button in game.get_available_buttons()}
    assert found == set(BUTTONS)


def test_all_have_equal_specs() -> None:
    check_tasks(parse_level_name("doom8"), atari=OPTIONS)
    assert len(SUITES["doom8"]) == 8


def test_a_time_limit_cuts_off_with_its_last_screen() -> None:
    tasks = parse_level_name("doom:basic")
    batch = make_batched_environment(tasks, [0], atari=OPTIONS, seed=1)
    batch.reset()
    # The library ends the episode at tic 314: 300 after its start at 14, in steps of 4.
    steps = [batch.step(np.array([NOOP])) for _ in range(75)]
    assert not any(step.first[0] for step in steps[:-1])
    assert steps[-1].truncated[0]
    assert steps[-1].reward[0] == -4
    assert steps[-1].final_features[0].any()
    batch.close()


def test_a_death_is_an_end() -> None:
    tasks = parse_level_name("doom:take_cover")
    environment = make_environment(tasks, 0, atari=OPTIONS, seed=1)
    timestep = environment.reset()
    while not timestep.last():
        timestep = environment.step(NOOP)
    assert timestep.discount == 0.0
    assert environment.step(NOOP).first()
    environment.close()


def test_falling_health_can_be_seen() -> None:
    environment = make_environment(
        parse_level_name("doom:health_gathering"), 0, atari=OPTIONS, seed=1
    )
    screens = [environment.reset().observation.features]
    # The player stands still, on a floor that takes 8 health points every 32 tics.
    screens.extend(environment.step(NOOP).observation.features for _ in range(30))
    environment.close()
    numbers = [screen[:, -11:, 27:43] for screen in screens]  # two or three digits
    assert len({number.tobytes() for number in numbers}) > 3
    assert any((number[0] > number[1] + 60).any() for number in numbers)  # in red


@pytest.mark.parametrize(("scenario", "episodes"), [("basic", 40), ("health_gathering", 10)])
def test_random_score_is_what_random_play_earns(scenario: str, episodes: int) -> None:
    (task,) = parse_level_name(f"doom:{scenario}")
    returns = random_returns(task, episodes, seed=3)
    error = returns.std(ddof=1) / episodes**0.5
    assert abs(returns.mean() - SCENARIOS[scenario].random_score) < 4 * error


def test_a_seed_is_a_game() -> None:
    tasks = parse_level_name("doom:predict_position")
    films = []
    for seed in (1, 1, 2):
        environment = make_environment(tasks, 0, atari=OPTIONS, seed=seed)
        environment.reset()
        films.append([environment.step(5).observation.features for _ in range(15)])
        environment.close()
    np.testing.assert_array_equal(films[0], films[1])
    assert not np.array_equal(films[0], films[2])


def test_it_is_filmed_as_the_engine_draws_it() -> None:
    tasks = parse_level_name("doom:basic")
    environment, screen = make_filmed_environment(tasks, 0, atari=OPTIONS, seed=1)
    observation = environment.reset().observation
    assert screen.frames is not None
    assert screen.frames(observation).shape == (1, 120, 160, 3)
    assert screen.action_names == ACTION_NAMES
    environment.close()


def test_an_engine_that_dies_is_replaced() -> None:
    tasks = parse_level_name("doom:basic")
    failures: list[EnvironmentFailure] = []
    before = set(psutil.Process().children(recursive=True))
    guarded = GuardedEnvironment(
        lambda attempt: make_batched_environment(tasks, [0, 0], atari=OPTIONS, seed=attempt),
        task_names=["doom:basic"],
        deadline=60,
        max_failures=3,
        on_failure=failures.append,
    )
    guarded.reset()
    engines = set(psutil.Process().children(recursive=True)) - before
    assert len(engines) == 2
    engines.pop().kill()
    for _ in range(5):
        step = guarded.step(np.zeros(2, np.int64))
    assert len(failures) == 1
    assert step.observation.features.any()
    guarded.close()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    message = r"^tasks doom:SCENARIO need the package vizdoom: install the extra \[doom\]$"
    with pytest.raises(ValueError, match=message):
        check_tasks(parse_level_name("doom:basic"), atari=OPTIONS)
