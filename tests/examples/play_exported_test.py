"""The policy that comes with the project, and the example that plays policy files."""

import pathlib
import subprocess
import sys

import dm_env
import pytest

from agents.popart_impala import load_policy
from agents.popart_impala.policy_file import LoadedPolicy
from environments import AtariOptions, make_environment, parse_level_name

ROOT = pathlib.Path(__file__).parents[2]
TOY = ROOT / "examples" / "toy.policy.npz"
MINATAR = ROOT / "examples" / "minatar.policy.npz"
DOOM = ROOT / "examples" / "doom8.policy.npz"


def episode_return(environment: dm_env.Environment, policy: LoadedPolicy, task: str) -> float:
    policy.reset()
    timestep = environment.reset()
    total = 0.0
    while not timestep.last():
        action = policy(timestep.observation.features, task, timestep.reward)
        timestep = environment.step(action)
        total += timestep.reward
    return total


@pytest.mark.parametrize("greedy", [False, True], ids=["sampled", "greedy"])
def test_the_toy_policy_is_optimal(greedy: bool) -> None:
    policy = load_policy(TOY, greedy=greedy)
    tasks = parse_level_name("toy")
    assert policy.tasks == tuple(task.name for task in tasks)
    for index, task in enumerate(tasks):
        environment = make_environment(tasks, index, atari=AtariOptions(), seed=5)
        returns = [episode_return(environment, policy, task.name) for _ in range(30)]
        assert returns == [task.human_score] * 30


def test_its_values_know_the_scales() -> None:
    policy = load_policy(TOY, greedy=True)
    tasks = parse_level_name("toy")
    for index, task in enumerate(tasks):
        environment = make_environment(tasks, index, atari=AtariOptions(), seed=5)
        policy.reset()
        policy(environment.reset().observation.features, task.name)
        # The reward comes 9 steps later, discounted by 0.99 per step.
        assert task.human_score is not None
        assert policy.value == pytest.approx(task.human_score * 0.99**8, rel=0.1)


def test_it_is_small() -> None:
    assert TOY.stat().st_size < 40_000


def play(*arguments: str) -> list[str]:
    process = subprocess.run(
        [sys.executable, "-m", "examples.play_exported", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


def means(lines: list[str]) -> dict[str, float]:
    return {line.partition(": ")[0]: float(line.split()[3].replace(",", "")) for line in lines[1:]}


@pytest.mark.slow
def test_the_example_plays_the_policy_of_three_games() -> None:
    """Far above random play, whose returns are -20.7, 1,338 and 68."""
    lines = play()
    assert lines[0].startswith("atari3.policy.npz: trained on ")
    played = means(lines)
    assert list(played) == ["pong", "riverraid", "seaquest"]
    assert played["pong"] > 10
    assert played["riverraid"] > 1_800
    assert played["seaquest"] > 400


@pytest.mark.slow
def test_the_example_plays_minatars_policy() -> None:
    """Far above random play, whose returns are 0.5, 0.5, 2.9, 0.1 and 0.1."""
    lines = play(str(MINATAR), "5")
    assert lines[0].startswith("minatar.policy.npz: trained on 4,0")
    played = means(lines)
    assert list(played) == [task.name for task in parse_level_name("minatar")]
    least = dict(breakout=2.5, asterix=2.5, space_invaders=15.0, seaquest=1.0, freeway=20.0)
    assert {name for name, mean in least.items() if played[f"minatar:{name}"] < mean} == set()


@pytest.mark.slow
def test_the_example_plays_dooms_policy() -> None:
    """Far above random play in four of the eight: -196, -0.2, 7.3 and 355."""
    played = means(play(str(DOOM), "3"))
    assert list(played) == [task.name for task in parse_level_name("doom8")]
    least = dict(basic=50.0, defend_center=8.0, defend_line=12.0, health_gathering=700.0)
    assert {name for name, mean in least.items() if played[f"doom:{name}"] < mean} == set()


def test_the_example_plays_the_toy_policy() -> None:
    assert play(str(TOY), "10") == [
        "toy.policy.npz: trained on 2,000,000 frames of catch_x1, catch_x100, catch_x10000",
        "catch_x1: mean return 1.0 of 10 episodes",
        "catch_x100: mean return 100.0 of 10 episodes",
        "catch_x10000: mean return 10,000.0 of 10 episodes",
    ]
