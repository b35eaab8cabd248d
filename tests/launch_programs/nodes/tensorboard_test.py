"""Event files, as TensorBoard itself reads them."""

import pathlib
import time

import pytest

from launch_programs.nodes.tensorboard import EventWriter
from launch_programs.run.scalars import Scalars
from tests.launch_programs.events import written


def write(directory: pathlib.Path, first_frame: int, *scalars: Scalars) -> None:
    writer = EventWriter(directory, first_frame)
    for values in scalars:
        writer.write(values)


def test_values_at_their_frames(tmp_path: pathlib.Path) -> None:
    beyond_int32 = 11_400_000_000
    write(
        tmp_path,
        0,
        Scalars(640, {"charts/SPS": 1.5, "popart/mu/pong": -0.25}),
        Scalars(beyond_int32, {"charts/SPS": 2.5}),
    )
    assert written(tmp_path) == {
        "charts/SPS": [(640, 1.5), (beyond_int32, 2.5)],
        "popart/mu/pong": [(640, -0.25)],
    }


def test_names_of_environments_become_tags(tmp_path: pathlib.Path) -> None:
    write(tmp_path, 0, Scalars(1, {"charts/episodic_return/gym:CartPole-v1": 1.0}))
    assert list(written(tmp_path)) == ["charts/episodic_return/gym_CartPole-v1"]


@pytest.mark.parametrize("back", [0, 3_600])
def test_what_a_resumed_run_repeats_replaces_what_was_there(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, back: int
) -> None:
    write(tmp_path, 0, *(Scalars(frames, {"x": 1.0}) for frames in (100, 200, 300)))
    now = time.time() - back
    monkeypatch.setattr(time, "time", lambda: now)  # in the same second, or a clock set back
    write(tmp_path, 200, Scalars(250, {"x": 2.0}))
    assert written(tmp_path) == {"x": [(100, 1.0), (250, 2.0)]}
