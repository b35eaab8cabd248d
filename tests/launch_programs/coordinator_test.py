"""What training prints."""

from launch_programs.coordinator import progress_line

ROW = {"frames_per_second": 2_000.0, "entropy": 1.234, "policy_lag_mean": 0.26}


def test_before_the_first_batch() -> None:
    line = progress_line({}, 200_000, {"pong": [], "seaquest": []}, 0)
    assert line == "frames 0 of 200,000 (0.0%)  waiting for the first batch"


def test_between_the_first_batch_and_the_first_metrics() -> None:
    line = progress_line({}, 200_000, {"pong": [-21.0, -20.0]}, 1_280)
    assert line == "frames 1,280 of 200,000 (0.6%)  pong -20.5"


def test_under_way() -> None:
    returns = {"pong": [1.0, 2.0, 6.0], "seaquest": [], "riverraid": [12_345.6]}
    assert progress_line(ROW, 10_000_000, returns, 2_800_000) == (
        "frames 2,800,000 of 10,000,000 (28.0%)  2,000 frames/s  left 1h00m  "
        "pong 3.0  riverraid 12,345.6  entropy 1.23  lag 0.3"
    )


def test_time_left() -> None:
    def left(total: int, rate: float) -> str:
        line = progress_line({**ROW, "frames_per_second": rate}, total, {}, 0)
        return line.split("  ")[2]

    assert left(59, 1.0) == "left 0m59s"
    assert left(3_599, 1.0) == "left 59m59s"
    assert left(3_600, 1.0) == "left 1h00m"
    assert left(200_000_000, 900.0) == "left 61h43m"
    assert left(3_599, 0.0) == "entropy 1.23"  # nobody knows


def test_at_the_end_no_time_is_left() -> None:
    assert "(100.0%)  2,000 frames/s  left 0m00s  " in progress_line(ROW, 200_000, {}, 200_000)
    assert "(100.3%)  2,000 frames/s  left 0m00s  " in progress_line(ROW, 200_000, {}, 200_640)


def test_many_tasks_without_scores_to_normalise_by() -> None:
    returns: dict[str, list[float]] = {f"gym:Task{i}-v0": [] for i in range(7)}
    returns["gym:Task3-v0"] = [5.0]
    line = progress_line({}, 200_000, returns, 1_280)
    assert line == "frames 1,280 of 200,000 (0.6%)  episodes of 1 of 7 tasks"
