"""The table of scores, and the names that select tasks."""

import re

import ale_py
import gymnasium
import pytest
from ale_py import roms

from environments import SUITES, TASKS, Task, parse_level_name, sticky_names, suite_name
from environments.atari57 import ATARI57_SCORES
from environments.atari_others import OTHER_ATARI_GAMES

gymnasium.register_envs(ale_py)


def names(text: str) -> list[str]:
    return [task.name for task in parse_level_name(text)]


def test_atari57_has_57_different_games() -> None:
    games = [name for name, _, _ in ATARI57_SCORES]
    assert len(games) == len(set(games)) == 57
    assert games == sorted(games)
    assert SUITES["atari57"] == tuple(games)


def test_humans_are_better_than_random() -> None:
    for name in (*SUITES["atari57"], *(name for name in TASKS if TASKS[name].domain == "toy")):
        task = TASKS[name]
        assert task.human_score is not None
        assert task.random_score is not None
        assert task.human_score > task.random_score


def test_the_other_games_of_the_emulator_have_no_scores() -> None:
    """All of ale-py's environments are tasks; its other ROMs are for several players."""
    registered = {
        spec.kwargs["game"] for spec in gymnasium.registry.values() if spec.id.startswith("ALE/")
    }
    atari = {name for name, task in TASKS.items() if task.domain == "atari"}
    assert atari == registered == {*SUITES["atari57"], *OTHER_ATARI_GAMES}
    assert len(atari) == 104
    assert set(roms.get_all_rom_ids()) - atari == {"combat", "joust", "maze_craze", "warlords"}
    for name in OTHER_ATARI_GAMES:
        assert TASKS[name] == Task(name, "atari", None, None, 4)
        assert TASKS[name].human_normalised(3.0) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ALE/Pong-v5", ["ALE/Pong-v5"]),
        ("seaquest, ale/pong-v5,Breakout-v0", ["ale/pong-v5", "Breakout-v0"]),
        ("pong,PongNoFrameskip-v4,Pong-v4,atari57", []),
        ("gym:ALE/Pong-v5", []),  # Gymnasium's own
    ],
)
def test_names_of_games_with_sticky_actions(text: str, expected: list[str]) -> None:
    assert sticky_names(text) == expected


@pytest.mark.parametrize(
    "game, random, human",
    [
        # As printed in the appendix of Badia et al. (2020).
        ("alien", 227.8, 7127.7),
        ("breakout", 1.7, 30.5),
        ("double_dunk", -18.6, -16.4),
        ("enduro", 0.0, 860.5),
        ("montezuma_revenge", 0.0, 4753.3),
        ("pong", -20.7, 14.6),
        ("private_eye", 24.9, 69571.3),
        ("qbert", 163.9, 13455.0),
        ("riverraid", 1338.5, 17118.0),
        ("seaquest", 68.4, 42054.7),
        ("skiing", -17098.1, -4336.9),
        ("surround", -10.0, 6.5),
        ("video_pinball", 16256.9, 17667.9),
        ("zaxxon", 32.5, 9173.3),
    ],
)
def test_published_scores(game: str, random: float, human: float) -> None:
    task = TASKS[game]
    assert (task.domain, task.action_repeat) == ("atari", 4)
    assert (task.random_score, task.human_score) == (random, human)


def test_human_normalised() -> None:
    task = Task("game", "atari", random_score=-20.0, human_score=30.0, action_repeat=4)
    assert task.human_normalised(-20.0) == 0.0
    assert task.human_normalised(30.0) == 100.0
    assert task.human_normalised(55.0) == 150.0
    assert task.human_normalised(-30.0) == -20.0


def test_suites() -> None:
    assert names("atari3") == ["pong", "riverraid", "seaquest"]
    assert names("toy") == ["catch_x1", "catch_x100", "catch_x10000"]
    assert names("ATARI57") == sorted(names("atari57"))
    assert all(TASKS[name].domain == "toy" for name in SUITES["toy"])
    assert [TASKS[name].human_score for name in SUITES["toy"]] == [1.0, 100.0, 10_000.0]


def test_minatar() -> None:
    games = ("breakout", "asterix", "space_invaders", "seaquest", "freeway")
    assert names("minatar") == names("MinAtar") == [f"minatar:{game}" for game in games]
    assert names("minatar_scales") == [
        "minatar:breakout",
        "minatar:asterix_x10",
        "minatar:space_invaders_x100",
        "minatar:seaquest_x1000",
        "minatar:freeway_x10000",
    ]
    tasks = parse_level_name("minatar:breakout,minatar:breakout_x100")
    assert {(task.domain, task.human_score, task.action_repeat) for task in tasks} == {
        ("minatar", None, 1)
    }
    assert tasks[0].random_score is not None
    assert tasks[1].random_score == 100 * tasks[0].random_score


@pytest.mark.parametrize(
    "text", ["minatar:space_invaders", "MinAtar:SpaceInvaders", " MINATAR:SPACE_INVADERS "]
)
def test_spellings_of_a_minatar_game(text: str) -> None:
    assert names(text) == ["minatar:space_invaders"]


@pytest.mark.parametrize(
    "text",
    [
        "pong",
        "Pong",
        " PONG ",
        "PongNoFrameskip-v4",
        "pongnoframeskip-v4",
        "PongDeterministic-v0",
        "Pong-v4",
        "ALE/Pong-v5",
        "ale/pong-v5",
    ],
)
def test_spellings_of_a_game(text: str) -> None:
    assert names(text) == ["pong"]


@pytest.mark.parametrize("text", ["ms_pacman", "MsPacman", "mspacman", "MsPacmanNoFrameskip-v4"])
def test_spellings_of_a_game_of_two_words(text: str) -> None:
    assert names(text) == ["ms_pacman"]


def test_every_gym_name_of_the_games_is_known() -> None:
    # ale-py's own registry gives the ROM for each of its names.
    registered = {
        spec.id: spec.kwargs["game"]
        for spec in gymnasium.registry.values()
        if spec.id.startswith("ALE/")
    }
    assert len(registered) == 104
    for gym_name, game in registered.items():
        camel_case = gym_name.removeprefix("ALE/").removesuffix("-v5")
        for spelling in (gym_name, camel_case, f"{camel_case}NoFrameskip-v4", game):
            assert names(spelling) == [game]


def test_lists_keep_their_order() -> None:
    assert names("seaquest, Pong ,ALE/Breakout-v5") == ["seaquest", "pong", "breakout"]
    assert names("breakout,atari3") == ["breakout", "pong", "riverraid", "seaquest"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("pnog", "unknown task 'pnog': did you mean pong"),
        ("ms_packman", "did you mean ms_pacman"),
        ("SeaquesNoFrameskip-v4", "did you mean seaquest"),
        ("atari75", "did you mean atari57"),
        ("pong,catch_x10000000", "did you mean catch_x10000 "),
        ("zzzzzz", "unknown task 'zzzzzz': known suites: atari3, atari57, minatar"),
        ("ALE/catch_x1-v5", "unknown task 'ALE/catch_x1-v5'"),
        ("minatar:brekout", "unknown task 'minatar:brekout': did you mean minatar:breakout "),
        ("MinAtar/Breakout-v1", "did you mean minatar:breakout "),
        ("minatar:", "unknown task 'minatar:': did you mean minatar"),
        ("minatar:breakout_x7", "did you mean minatar:breakout"),
        ("breakout,minatar", r"mixes breakout \(atari\) and minatar:freeway \(minatar\)"),
        ("minatar,MinAtar:Freeway", "has minatar:freeway more than once"),
        ("Pong-ram-v4", "unknown task 'Pong-ram-v4': games are learned from their pictures, not"),
        ("ALE/Pong-ram-v5", "not from the RAM; give the game's name without -ram"),
        ("combat", "unknown task 'combat'"),
        ("", "a name is missing in ''"),
        ("pong,,seaquest", "a name is missing in 'pong,,seaquest'"),
        ("pong,", "a name is missing in 'pong,'"),
        ("pong,seaquest,PongNoFrameskip-v4", "has pong more than once"),
        ("atari3,Seaquest", "has seaquest more than once"),
        ("pong,catch_x1", r"mixes pong \(atari\) and catch_x1 \(toy\)"),
        ("toy,pong", "one domain"),
    ],
)
def test_errors(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        parse_level_name(text)
    assert "\n" not in str(error.value)


def test_errors_of_long_lists_stay_short() -> None:
    for text in ("atari57,toy", "atari57,atari57"):
        with pytest.raises(ValueError) as error:
            parse_level_name(text)
        assert len(str(error.value)) < 120


@pytest.mark.parametrize(
    "text, expected",
    [
        ("atari3", "atari3"),
        ("pong,riverraid,seaquest", "atari3"),
        ("seaquest,riverraid,pong", "seaquest-riverraid-pong"),  # another order, other indices
        ("Pong", "pong"),
        ("pong,seaquest", "pong-seaquest"),
        ("toy", "toy"),
        ("atari57", "atari57"),
        ("minatar", "minatar"),
        ("minatar_scales", "minatar_scales"),
        ("minatar:breakout", "minatar_breakout"),
        ("atari3,breakout,alien", "atari5tasks"),
    ],
)
def test_suite_name(text: str, expected: str) -> None:
    name = suite_name(parse_level_name(text))
    assert name == expected
    assert re.fullmatch(r"[a-z0-9_-]+", name)


def test_suite_name_of_nothing() -> None:
    with pytest.raises(ValueError, match="no task"):
        suite_name([])
