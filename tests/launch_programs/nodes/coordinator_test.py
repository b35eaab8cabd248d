"""The progress line that the coordinator writes."""

from launch_programs.nodes.coordinator import progress_line
from launch_programs.run.training_status import TrainingStatus
from tests.launch_programs.statuses import add_episodes, learner_row, make_status


def under_way(level: str = "pong,seaquest,riverraid") -> TrainingStatus:
    status = make_status(level, total_frames=10_000_000)
    status.add_learner_row(learner_row(frames=2_799_000))
    status.add_learner_row(learner_row(frames=2_800_000, frames_per_second=2_000.0))
    return status


def test_before_the_first_batch() -> None:
    line = progress_line(make_status("pong,seaquest"))
    assert line == "0.0%  0 frames  waiting for the first batch"


def test_between_the_first_batch_and_the_first_metrics() -> None:
    status = make_status("pong", total_frames=200_000)
    add_episodes(status, "pong", -21.0, -20.0, frames=1_280)
    assert progress_line(status) == "0.6%  1,280 frames  pong -20.5"


def test_under_way() -> None:
    status = under_way()
    add_episodes(status, "pong", 1.0, 2.0, 6.0, frames=2_800_000)
    add_episodes(status, "riverraid", 12_345.6, frames=2_800_000)
    assert progress_line(status) == (
        "28.0%  2,800,000 frames  2,000/s  1h00m left  pong 3.0  riverraid 12,345.6  queue 25%"
    )


def test_at_the_end_no_time_is_left() -> None:
    status = under_way()
    status.add_learner_row(learner_row(frames=10_000_640, frames_per_second=0.0))
    assert progress_line(status) == "100.0%  10,000,640 frames  0/s  0m00s left  queue 25%"


def test_many_tasks_are_their_median() -> None:
    status = under_way("atari57")
    for name in ("pong", "breakout", "boxing"):
        task = next(task.task for task in status.tasks if task.task.name == name)
        assert task.human_score is not None
        add_episodes(status, name, task.human_score, frames=2_800_000)
    assert "  human-normalised median 100.0 % over 3 of 57 tasks  queue" in progress_line(status)


def test_many_tasks_without_scores_to_normalise_by() -> None:
    status = make_status(",".join(f"gym:ALE/Task{i}-v0" for i in range(7)), total_frames=200_000)
    add_episodes(status, "gym:ALE/Task3-v0", 5.0, frames=1_280)
    assert progress_line(status) == "0.6%  1,280 frames  episodes of 1 of 7 tasks"


def test_what_no_queue_answered_is_left_out() -> None:
    status = under_way()
    nan = float("nan")
    status.add_learner_row(learner_row(frames=2_900_000, queue_fill=nan, frames_per_second=nan))
    assert progress_line(status) == "29.0%  2,900,000 frames  2,000/s  59m10s left"
