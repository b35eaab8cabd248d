"""Rows of metrics as scalars."""

import dataclasses

from environments import TASKS
from launch_programs.run.scalars import Scalars, ScalarStream
from tests.launch_programs.runs import CONFIG

LEARNER = {
    "time": "1795528128.5",
    "learner_steps": "159",
    "frames": "101760",
    "frames_per_second": "2000.0",
    "learning_rate": "0.0004",
    "policy_lag_mean": "1.25",
    "baseline_loss": "110.0",
    "entropy": "1.07",
    "entropy_loss": "-6.8",
    "loss": "-4.0",
    "policy_gradient_loss": "-107.3",
    "mu/pong": "-0.5",
    "sigma/seaquest": "70.8",
    "attention_1/pong": "0.25",
}


def episode(task: str, episode_return: float, length: int, frames: int = 0) -> dict[str, str]:
    return {
        "time": "1795528128.5",
        "frames": str(frames),
        "task": task,
        "episode_return": str(episode_return),
        "episode_length": str(length),
    }


def test_a_row_of_the_learner_has_the_fields_names() -> None:
    assert ScalarStream(CONFIG).add("learner", LEARNER) == Scalars(
        101_760,
        {
            "learner/learner_steps": 159.0,
            "charts/FPS": 2000.0,
            "charts/SPS": 500.0,  # an agent step is four frames
            "charts/learning_rate": 0.0004,
            "learner/policy_lag_mean": 1.25,
            "losses/value_loss": 110.0,
            "losses/entropy": 1.07,
            "losses/entropy_loss": -6.8,
            "losses/total_loss": -4.0,
            "losses/policy_loss": -107.3,
            "popart/mu/pong": -0.5,
            "popart/sigma/seaquest": 70.8,
            "attention/subnet_1/pong": 0.25,
        },
    )


def test_episodes_are_averaged_between_rows_of_the_learner() -> None:
    stream = ScalarStream(CONFIG)
    assert stream.add("actors", episode("pong", -20.0, 100)) is None
    assert stream.add("actors", episode("pong", 10.0, 200)) is None
    assert stream.add("actors", episode("seaquest", 68.4, 7)) is None
    first = stream.add("learner", LEARNER)
    assert first is not None
    human, random = TASKS["pong"].human_score, TASKS["pong"].random_score
    assert human is not None
    assert random is not None
    charts = {tag: x for tag, x in first.values.items() if tag.count("/") == 2 and "charts" in tag}
    assert charts == {
        "charts/episodic_return/pong": -5.0,
        "charts/episodic_length/pong": 150.0,
        "charts/human_normalised_percent/pong": 100 * (-5.0 - random) / (human - random),
        "charts/episodic_return/seaquest": 68.4,
        "charts/episodic_length/seaquest": 7.0,
        "charts/human_normalised_percent/seaquest": 0.0,  # the random policy's return is 68.4
    }
    second = stream.add("learner", {**LEARNER, "frames": "200000"})
    assert second is not None
    assert second.frames == 200_000
    assert not any("episodic" in tag for tag in second.values)


def test_the_evaluators_episodes_are_shown_one_by_one() -> None:
    scalars = ScalarStream(CONFIG).add("evaluator", episode("seaquest", 68.4, 50, frames=4_000))
    assert scalars == Scalars(
        4_000,
        {
            "evaluation/episodic_return/seaquest": 68.4,
            "evaluation/human_normalised_percent/seaquest": 0.0,
        },
    )


def test_tasks_without_scores_are_not_normalised() -> None:
    config = dataclasses.replace(CONFIG, tasks=("gym:CartPole-v1",))
    scalars = ScalarStream(config).add("evaluator", episode("gym:CartPole-v1", 9.0, 9))
    assert scalars == Scalars(0, {"evaluation/episodic_return/gym:CartPole-v1": 9.0})
