"""What the display draws at the sizes of terminals."""

import random
import re

import pytest
from rich.console import Console

from launch_programs.run.training_status import TrainingStatus
from launch_programs.screen.display import choose, render
from tests.launch_programs.statuses import add_episodes, learner_row, make_status


def draw(status: TrainingStatus, width: int, height: int, path: str = "runs/mine") -> list[str]:
    """The lines that are drawn."""
    console = Console(width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(render(status, path, width, height))
    return capture.get().splitlines()


def under_way(level: str) -> TrainingStatus:
    """Training with episodes of every task but the first."""
    status = make_status(level)
    generator = random.Random(1)
    for task in status.tasks[1:]:
        add_episodes(status, task.task.name, *(generator.uniform(-50, 5_000) for _ in range(5)))
    for frames in (1_000_000, 50_000_000):
        status.add_learner_row(learner_row(frames=frames))
    return status


def test_before_anything_has_come() -> None:
    lines = draw(make_status("toy"), 80, 24)
    assert lines[0].endswith("  0.0%")
    assert lines[1:] == [
        "frames   0 of 200,000,000   waiting for the first batch",
        "nodes    restarts 0   failures 0",
        "run      runs/mine",
        "",
        "task             last  mean 100  optimum %",
        "catch_x1            -         -          -",
        "catch_x100          -         -          -",
        "catch_x10000        -         -          -",
        "optimum-normalised: no episode yet",
    ]


def test_under_way() -> None:
    status = make_status("pong,seaquest", total_frames=100_000)
    status.add_learner_row(learner_row(frames=9_000))
    status.add_learner_row(learner_row(frames=25_000, frames_per_second=1_000.0))
    add_episodes(status, "pong", *[-20.7] * 10, 14.6, frames=25_000)
    add_episodes(status, "seaquest", 12_345.6, frames=25_000)
    for restart in (1, 0, 1):
        status.add_failure({"restart": restart})
    bar, *lines = draw(status, 80, 24)
    assert bar.endswith("  25.0%  1m15s left")
    assert lines == [
        "frames   25,000 of 100,000   1,000 frames/s",
        "losses   total 2,215   policy gradient 45.3   baseline 176   entropy -6.50",
        "policy   entropy 1.01   lag 1.2 updates, at most 3",
        "learner  queue 25 % full   waited 57 % of the time   skipped updates 2",
        "nodes    restarts 2   failures 1",
        "run      runs/mine",
        "",
        "task         last  mean 100  human %",
        "pong         14.6     -17.5      9.1",
        "seaquest   12,346    12,346     29.2",
        "human-normalised over 2 of 2 tasks: median 19.2 %, mean 19.2 %",
    ]


def test_a_task_without_scores() -> None:
    lines = draw(under_way("gym:CartPole-v1"), 80, 24)
    assert lines[-2:] == [
        "task                last  mean 100",
        "gym:CartPole-v1        -         -",
    ]


def test_what_is_not_known_or_not_finite_is_drawn_too() -> None:
    status = make_status("pong")
    status.add_learner_row(learner_row(queue_fill=float("nan"), loss=float("nan")))
    lines = draw(status, 80, 24)
    assert "learner  queue - full   waited 57 % of the time   skipped updates 2" in lines
    assert lines[2].startswith("losses   total nan   policy")


SIZES = [(80, 24), (120, 40), (200, 60), (60, 12), (40, 10), (500, 8)]


@pytest.mark.parametrize("level", ["pong", "toy", "atari57", "gym:CartPole-v1"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_it_fits_the_screen(level: str, width: int, height: int) -> None:
    lines = draw(under_way(level), width, height, path="/tmp/" + "long/" * 100 + "end")
    assert len(lines) <= max(7, height - 4)
    assert max(len(line) for line in lines) <= width
    [run] = [line for line in lines if line.startswith("run ")]
    assert run.endswith("/end")


def test_all_games_where_they_fit_and_the_extremes_where_not() -> None:
    status = under_way("atari57")
    names = [task.task.name for task in status.tasks]
    large = "\n".join(draw(status, 120, 40))
    assert all(f"{name} " in large for name in names)
    assert "tasks are shown" not in large
    assert "human-normalised over 56 of 57 tasks: median " in large

    small = draw(status, 80, 24)
    shown = [name for name in names if any(f"{name} " in line for line in small)]
    assert len(shown) == 18
    assert small[-2] == "18 of 57 tasks are shown, the lowest and the highest scores"
    assert small[-1].startswith("human-normalised over 56 of 57 tasks: median ")
    scores = sorted(task.normalised for task in status.tasks if task.normalised is not None)
    chosen = [t.normalised for t in status.tasks if t.task.name in shown and t.normalised]
    assert sorted(chosen) == scores[:9] + scores[-9:]


def test_choosing_tasks() -> None:
    status = make_status("toy,choice_x1,choice_x100")
    names = [task.task.name for task in status.tasks]
    for name, episode_return in (("catch_x1", 1.0), ("catch_x100", 0.0), ("choice_x1", -1.0)):
        add_episodes(status, name, episode_return)

    def chosen(number: int) -> list[str]:
        return [task.task.name for task in choose(status.tasks, number)]

    assert chosen(5) == chosen(6) == names
    assert chosen(2) == ["catch_x1", "choice_x1"]  # the best and the worst
    assert chosen(1) == ["catch_x1"]
    assert chosen(3) == ["catch_x1", "catch_x100", "choice_x1"]
    assert chosen(4) == ["catch_x1", "catch_x100", "catch_x10000", "choice_x1"]


@pytest.mark.parametrize("width", range(37, 100, 7))
def test_no_number_is_cut(width: int) -> None:
    name = "gym:a_package_with_a_long_name/AnEnvironment-v12"
    status = make_status(name)
    add_episodes(status, name, 12_345.6)
    for frames in (1_000_000, 50_000_000):
        status.add_learner_row(learner_row(frames=frames, policy_gradient_loss=123_456.0))
    text = "\n".join(draw(status, width, 40))
    whole = "\n".join(draw(status, 200, 40))
    assert "\u2026" not in text
    numbers = set(re.findall(r"[\d.,]+\d", whole))
    assert set(re.findall(r"[\d.,]+\d", text)) <= numbers | {"12"}
    assert "12,346" in text
    assert (name in text) == (width >= len(name) + 2 * 9)
