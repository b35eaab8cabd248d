"""Scores, and playing whole episodes with given parameters."""

import dataclasses

import jax
import numpy as np
import pytest

from agents.popart_impala import Config, popart
from agents.popart_impala.networks import Networks
from launch_programs.nodes.stopping import ProgramStopped
from launch_programs.nodes.task_player import FixedVariables, TaskPlayer
from launch_programs.run.checkpointing import SavedPolicy
from launch_programs.run.parts import derive_seed, make_run_networks
from launch_programs.run.run_config import RunConfig
from launch_programs.settings.flags import define_run_flags, resolve
from tests.launch_programs.command_lines import given


def run(*flags: str) -> RunConfig:
    with given(define_run_flags, *flags):
        return resolve(None)


def new_policy(networks: Networks) -> FixedVariables:
    params = jax.jit(networks.init)(jax.random.PRNGKey(0))
    return FixedVariables(
        SavedPolicy(params, popart.initial_state(networks.num_tasks), steps=0, frames=0),
        Config(),
    )


@pytest.mark.parametrize("level", ["toy", "pong,seaquest"])
def test_a_player_plays_whole_episodes_of_its_task(level: str) -> None:
    config = run(f"--level_name={level}", "--max_frames_per_episode=200")
    networks = make_run_networks(config)
    source = new_policy(networks)

    def play(task: int, seed: int) -> list[tuple[float, int]]:
        player = TaskPlayer(config, networks, task, source, greedy=False, seed=seed)
        results = [player.play() for _ in range(6)]
        player.close()
        assert {result.task for result in results} == {task}
        return [(result.episode_return, result.episode_length) for result in results]

    if level == "toy":
        for task, scale in enumerate((1.0, 100.0, 10_000.0)):
            for episode_return, length in play(task, seed=1):
                assert abs(episode_return) == scale
                assert length == 9  # the ball falls from row 0 to row 9
    else:
        assert {length for _, length in play(0, seed=1)} == {50}  # cut off after 200 frames
    assert play(1, seed=1) == play(1, seed=1)
    if level == "toy":
        assert play(2, seed=1) != play(2, seed=2)


def test_players_ignore_that_training_ended_episodes_with_a_life() -> None:
    """Seaquest's first life is lost long before the game ends."""
    config = run("--level_name=seaquest", "--life_loss", "--max_frames_per_episode=20000")
    networks = make_run_networks(config)
    source = new_policy(networks)
    lengths = []
    for life_loss in (True, False):
        lives = dataclasses.replace(config.atari, life_loss=life_loss)
        player = TaskPlayer(
            dataclasses.replace(config, atari=lives), networks, 0, source, greedy=True, seed=1
        )
        lengths.append(player.play().episode_length)
        player.close()
    assert lengths[0] == lengths[1]


def test_a_player_stops_in_the_middle_of_an_episode() -> None:
    config = run("--level_name=toy")
    networks = make_run_networks(config)
    asked = iter([False, False, False, True])
    player = TaskPlayer(
        config,
        networks,
        0,
        new_policy(networks),
        greedy=False,
        seed=1,
        should_stop=lambda: next(asked),
    )
    with pytest.raises(ProgramStopped):
        player.play()
    assert next(asked, None) is None


def test_derived_seeds_differ_and_repeat() -> None:
    seeds = [derive_seed(a, b) for a in range(20) for b in range(20)]
    assert len(set(seeds)) == 400
    assert all(type(seed) is int and 0 <= seed < 2**31 for seed in seeds)
    assert seeds == [derive_seed(a, b) for a in range(20) for b in range(20)]
    assert derive_seed(2**63 - 1, 0) != derive_seed(2**31 - 1, 0)
    np.random.RandomState(derive_seed(2**63 - 1))  # NumPy's older generators accept it
