"""The state of training, computed from the rows of its tables."""

import pathlib

import pytest

from launch_programs.run.failure_log import FailureLog
from launch_programs.run.metrics import CSVTable, Row
from launch_programs.run.run_directory import RunDirectory
from launch_programs.run.training_status import StatusFollower, TaskStatus, duration
from tests.launch_programs.statuses import BEGAN, add_episodes, learner_row, make_status


def figures(task: TaskStatus) -> tuple[int, float | None, float | None, float | None]:
    return task.episodes, task.last_return, task.mean_return, task.normalised


def test_returns_of_a_task() -> None:
    status = make_status("pong,seaquest")
    pong, seaquest = status.tasks
    assert figures(pong) == (0, None, None, None)
    add_episodes(status, "pong", *[-21.0] * 50, *[0.0] * 99, 10.0)
    # The mean is over the last hundred.
    assert figures(pong) == (150, 10.0, 0.1, pong.task.human_normalised(0.1))
    assert figures(seaquest) == (0, None, None, None)


def test_scores_over_tasks() -> None:
    assert make_status("toy").normalised is None
    status = make_status("toy")  # optima of 1, 100 and 10,000
    add_episodes(status, "catch_x1", 1.0)
    add_episodes(status, "catch_x100", -60.0)
    scores = status.normalised
    assert scores is not None
    assert (len(status.played), scores.mean, scores.median) == (2, 50.0, 50.0)
    assert status.reference == "optimum"
    assert make_status("pong").reference == "human"


def test_tasks_without_scores_have_none() -> None:
    status = make_status("gym:A-v0,gym:B-v0")
    add_episodes(status, "gym:A-v0", 5.0)
    assert status.tasks[0].mean_return == 5.0
    assert status.tasks[0].normalised is None
    assert status.normalised is None


def test_time_left() -> None:
    status = make_status("pong", total_frames=10_000)
    status.add_learner_row(learner_row(frames=1_000, frames_per_second=1.0))
    assert status.frames_per_second == 1.0
    left, shares = [], []
    for frames, speed in ((4_000, 100.0), (5_000, 0.0), (10_000, 0.0), (10_640, 100.0)):
        left.append(status.seconds_left)
        status.add_learner_row(learner_row(frames=frames, frames_per_second=speed))
        shares.append(status.share)
    left.append(status.seconds_left)
    # The first speed includes the start; with a speed of 0 the time left is unknown.
    assert left == [None, 60.0, None, 0.0, 0.0]
    assert shares == [0.4, 0.5, 1.0, 1.0]  # the last update had more frames than were left


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0m00s"), (59, "0m59s"), (3_599, "59m59s"), (3_600, "1h00m"), (222_222, "61h43m")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_frames_are_of_the_newest_row_of_both_tables() -> None:
    status = make_status("pong")
    status.add_learner_row(learner_row(time=BEGAN + 10, frames=500))
    status.add_episode({"time": BEGAN + 5, "frames": 400, "task": "pong", "episode_return": 1.0})
    assert status.frames == 500
    status.add_episode({"time": BEGAN + 12, "frames": 600, "task": "pong", "episode_return": 1.0})
    assert status.frames == 600
    # The run was killed and continued from a checkpoint.
    status.add_learner_row(learner_row(time=BEGAN + 90, frames=300))
    assert status.frames == 300


def test_a_run_directory_is_followed_and_a_resumed_run_goes_on(tmp_path: pathlib.Path) -> None:
    directory = RunDirectory(tmp_path)
    status = make_status("pong")
    follower = StatusFollower(directory, status)
    follower.update()
    assert status.frames == 0

    episode: Row = {"time": BEGAN, "frames": 80, "task": "pong", "episode_return": -20.0}
    CSVTable(directory.tables["actors"]).append([episode, episode])
    follower.update()
    follower.update()
    assert (status.tasks[0].episodes, status.frames) == (2, 80)
    CSVTable(directory.tables["learner"]).append([learner_row(frames=640, frames_per_second=7.0)])
    log = FailureLog(directory)
    log.add_restart("actor/1", "killed; started again")
    log.add("learner/0", "no space left; training continues")
    log.add("actor/0", "no answer; its environments are recreated")
    follower.close()
    assert status.frames == 640
    assert status.frames_per_second == 7.0
    assert status.losses is not None
    assert status.losses["policy_gradient_loss"] == 45.34
    assert (status.restarts, status.failures) == (1, 2)

    resumed = make_status("pong", since=BEGAN + 100)
    StatusFollower(directory, resumed).update()
    assert resumed.frames == 640
    assert resumed.tasks[0].mean_return == -20.0
    assert (resumed.restarts, resumed.failures) == (1, 2)
    assert resumed.frames_per_second is None  # that was an earlier start's


def test_a_clock_that_is_set_back_stops_nothing() -> None:
    status = make_status("pong", total_frames=10_000)
    for seconds, frames in ((10, 1_000), (20, 2_000), (-3_600, 3_000), (-3_590, 4_000)):
        row = learner_row(time=BEGAN + seconds, frames=frames, frames_per_second=frames / 10)
        status.add_learner_row(row)
    assert (status.frames, status.frames_per_second, status.seconds_left) == (4_000, 400.0, 15.0)
    status.add_episode(
        {"time": BEGAN - 3_585, "frames": 4_500, "task": "pong", "episode_return": 1.0}
    )
    assert status.frames == 4_500


def test_a_speed_that_is_not_known() -> None:
    status = make_status("pong", total_frames=10_000)
    for speed in (100.0, 200.0, float("nan"), float("inf")):
        status.add_learner_row(learner_row(frames=2_000, frames_per_second=speed))
    assert (status.frames_per_second, status.seconds_left) == (200.0, 40.0)
