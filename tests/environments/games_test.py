"""All toy tasks: specs, seeds, scores, names."""

import itertools
import statistics

import numpy as np
import pytest

from environments import SUITES, TASKS, AtariOptions, make_environment, parse_level_name
from environments.toy import GAMES, Catch, Choice, Follow, Streak
from environments.toy.board import LEFT, RIGHT, STAY
from tests.environments.toy_play import play, shown, towards


def test_every_game_is_a_task_and_every_toy_task_a_game() -> None:
    assert set(GAMES) == {name for name, task in TASKS.items() if task.domain == "toy"}
    for name, game in GAMES.items():
        task = TASKS[name]
        assert (task.random_score, task.human_score) == (game.random_score, game.optimum)


def test_suites() -> None:
    assert SUITES["toy_scales"] == ("choice_x1", "choice_x100", "choice_x10000")
    assert SUITES["toy_density"] == ("follow_x1", "follow_x100", "streak_x1", "streak_x100")
    assert len(SUITES["toy_conflict"]) == 6


def test_all_have_the_same_specs_so_that_one_network_can_play_any() -> None:
    first, *others = (game.make(0) for game in GAMES.values())
    assert first.observation_spec().shape == (10, 5)
    assert first.action_spec().num_values == 3
    for other in others:
        assert other.observation_spec() == first.observation_spec()
        assert other.action_spec() == first.action_spec()


@pytest.mark.parametrize("name", GAMES)
def test_seeds(name: str) -> None:
    def boards(seed: int) -> np.ndarray:
        environment = GAMES[name].make(seed)
        return np.stack([environment.step(STAY).observation for _ in range(200)])

    np.testing.assert_array_equal(boards(3), boards(3))
    assert (boards(3) != boards(4)).any()


@pytest.mark.parametrize("name", GAMES)
def test_random_score_is_what_random_play_earns(name: str) -> None:
    environment = make_environment(parse_level_name(name), 0, atari=AtariOptions(), seed=5)
    random = np.random.default_rng(6)
    returns = []
    for _ in range(600):
        timestep = environment.reset()
        returns.append(0.0)
        while not timestep.last():
            timestep = environment.step(random.integers(3))
            returns[-1] += timestep.reward
    game = GAMES[name]
    # Streak's returns deviate by sqrt(0.008 * 0.992) = 0.09 of the optimum, but rewards are so rare
    # that a sample may suggest less; the returns of all other games deviate by more.
    error = max(statistics.stdev(returns), 0.09 * game.optimum) / np.sqrt(len(returns))
    assert abs(statistics.fmean(returns) - game.random_score) < 4 * error


@pytest.mark.parametrize("name", SUITES["toy_conflict"])
def test_conflicting_games_want_the_actions_of_their_name(name: str) -> None:
    meanings = ["lsr".index(letter) for letter in name.removeprefix("catch_")]
    environment, plain = GAMES[name].make(1), GAMES["catch_lsr"].make(1)

    def best(board: np.ndarray) -> int:
        return towards(int(board[-1].argmax()), shown(board, 1.0))

    for _ in range(20):
        assert sum(play(environment, lambda board: meanings.index(best(board)))) == 1.0
        assert sum(play(plain, best)) == 1.0
    np.testing.assert_array_equal(environment.reset().observation, plain.reset().observation)


def test_conflicting_games_are_all_the_orders_of_the_moves() -> None:
    orders = {name.removeprefix("catch_") for name in SUITES["toy_conflict"]}
    assert orders == {"".join(order) for order in itertools.permutations("lsr")}


def test_the_changing_scale() -> None:
    game = GAMES["choice_changing"]
    assert [game.factor_at(episode) for episode in (0, 999, 1000, 5000)] == [1, 1, 1000, 1000]
    assert [GAMES["choice_x100"].factor_at(episode) for episode in (0, 5000)] == [1, 1]
    environment = game.make(0)
    for _ in range(game.changes_at):
        environment.reset()
    returns = {sum(play(environment, lambda board: STAY)) for _ in range(100)}
    assert returns == {0.0, 1000.0, 10_000.0}


@pytest.mark.parametrize("game", (Catch, Choice, Follow, Streak))
@pytest.mark.parametrize("scale", (0.0, -1.0, float("nan")))
def test_bad_scales_are_refused(game: type, scale: float) -> None:
    with pytest.raises(ValueError, match="scale is .*; it must be positive"):
        game(scale=scale)


@pytest.mark.parametrize("meanings", ((LEFT, STAY), (LEFT, LEFT, RIGHT), (1, 2, 3)))
def test_bad_meanings_are_refused(meanings: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="they must be 0, 1 and 2 in some order"):
        Catch(meanings=meanings)
