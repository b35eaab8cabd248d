"""A member of a population: its score, and the states that others continue from."""

import json
import pathlib

import pytest

from environments import TASKS
from launch_programs.run.checkpointing import Checkpointer
from launch_programs.run.metrics import CSVTable, Row
from launch_programs.run.population import PopulationConfig
from launch_programs.run.run_directory import checkpoint_steps
from launch_programs.tuning.member import Member, MemberFailed
from tests.launch_programs.populations import make_population, population
from tests.launch_programs.rows import episode
from tests.launch_programs.runs import make_run


def member(path: pathlib.Path, config: PopulationConfig, actors: list[Row]) -> Member:
    directory = make_population(path, config)
    run = directory.member(0)
    run.create()
    run.write_config(config.run)
    CSVTable(run.tables["actors"]).append(actors)
    return Member(directory, 0)


def test_score_of_several_tasks_is_the_capped_mean(tmp_path: pathlib.Path) -> None:
    pong, seaquest = TASKS["pong"], TASKS["seaquest"]
    assert pong.random_score is not None
    assert pong.human_score is not None
    assert seaquest.random_score is not None
    assert seaquest.human_score is not None
    half = 0.5 * (pong.random_score + pong.human_score)
    rows = [
        episode(1.0, 300, "pong", -21.0),  # in the first interval
        episode(2.0, 500, "pong", half - 1.0),
        episode(3.0, 600, "pong", half + 1.0),
        episode(4.0, 700, "seaquest", 3 * seaquest.human_score),
    ]
    found = member(tmp_path, population("pong,seaquest"), rows)
    assert found.score(1) == pytest.approx((50 + 100) / 2)
    with pytest.raises(MemberFailed, match="no episode of seaquest has ended in 400 frames"):
        member(tmp_path / "other", population("pong,seaquest"), rows[:3]).score(0)


def test_score_of_one_task(tmp_path: pathlib.Path) -> None:
    human = TASKS["pong"].human_score
    random = TASKS["pong"].random_score
    assert human is not None
    assert random is not None
    twice = [episode(1.0, 100, "pong", random + 2 * (human - random))]
    assert member(tmp_path / "a", population("pong"), twice).score(0) == pytest.approx(200)
    steps = [episode(1.0, 100 + i, "gym:CartPole-v1", float(i)) for i in range(150)]
    cartpole = population("gym:CartPole-v1")
    assert member(tmp_path / "b", cartpole, steps).score(0) == pytest.approx(99.5)  # the last 100


def test_states(tmp_path: pathlib.Path) -> None:
    """Uses real checkpoints for the learner's part of a state; tune_test runs the programs."""
    directory = make_population(tmp_path / "population", population())
    make_run(directory.member(0).path, "toy", steps=3)
    make_run(directory.member(0).path, "toy", steps=7)
    make_run(directory.member(1).path, "toy", steps=9)
    first, second = Member(directory, 0), Member(directory, 1)
    state = tmp_path / "state"
    state.mkdir()
    first.save(state, interval=4)

    second.begin(state, {"learning_rate": 0.5})
    copied = directory.member(1)
    assert checkpoint_steps(copied.checkpoints) == [7]
    assert copied.read_last_checkpoint() == 7
    restored = Checkpointer(copied.checkpoints).restore_policy()
    assert restored is not None
    assert restored.frames == 7 * 640
    beginning = json.loads((copied.path / "beginning.json").read_text())
    assert beginning == {"interval": 5, "parent": 0, "tuned": {"learning_rate": 0.5}}

    # The interval was interrupted after another checkpoint, and is begun again.
    make_run(copied.path, "toy", steps=8)
    second.begin(state, {"learning_rate": 0.5})
    assert sorted(checkpoint_steps(copied.checkpoints)) == [7, 8]
    # With another learning rate it is another interval.
    second.begin(state, {"learning_rate": 0.25})
    assert checkpoint_steps(copied.checkpoints) == [7]
    second.begin(None, {"learning_rate": 0.25})
    assert not copied.checkpoints.exists()
    assert copied.read_last_checkpoint() is None
