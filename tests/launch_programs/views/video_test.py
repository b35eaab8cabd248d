"""Videos: the files, and whether they show what happened."""

import pathlib
from typing import Any

import dm_env
import imageio.v3 as iio
import jax
import numpy as np
import pytest
from acme.utils import observers

from agents.popart_impala.acting import EpisodeResult
from agents.popart_impala.popart import Scale
from agents.popart_impala.types import AgentInput
from launch_programs.nodes.task_player import FixedVariables, TaskPlayer
from launch_programs.run.checkpointing import restore_policy
from launch_programs.run.parts import make_run_networks
from launch_programs.run.run_directory import RunDirectory
from launch_programs.views import video
from launch_programs.views.video import (
    EpisodeRecorder,
    VideoPaths,
    VideoWriter,
    compose,
    fitted,
    video_paths,
)
from launch_programs.views.video_panel import HEIGHT, WIDTH, PanelState, draw_panel
from tests.launch_programs.runs import make_run


def paths(folder: pathlib.Path) -> VideoPaths:
    return video_paths(folder, ["game"], "5")[0]


def read_mp4(path: pathlib.Path) -> np.ndarray:
    return iio.imread(path, plugin="FFMPEG")


def frames(number: int, height: int = 64, width: int = 96) -> np.ndarray:
    """Frames of one colour with a white block that moves."""
    shown = np.zeros((number, height, width, 3), np.uint8)
    shown[:] = (200, 40, 90)
    for i in range(number):
        shown[i, :16, 2 * i : 2 * i + 16] = 255
    return shown


def test_names() -> None:
    named = video_paths(pathlib.Path("v"), ["pong", "gym:a/b-v0", "gym:a:b-v0"], "7-greedy")
    assert [str(p.mp4) for p in named] == [
        "v/pong-7-greedy.mp4",
        "v/gym_a_b-v0-task1-7-greedy.mp4",
        "v/gym_a_b-v0-task2-7-greedy.mp4",
    ]
    assert str(named[0].gif) == "v/pong-7-greedy.gif"


def test_files_read_back(tmp_path: pathlib.Path) -> None:
    shown = frames(30)
    writer = VideoWriter(paths(tmp_path / "videos"), 60)
    for frame in shown:
        writer.write(frame)
        assert not writer.paths.mp4.exists()  # never a partial file
        assert writer.paths.taken
    writer.finish()
    writer.abandon()  # has no effect any more
    assert sorted(p.name for p in (tmp_path / "videos").iterdir()) == ["game-5.gif", "game-5.mp4"]

    meta = iio.immeta(writer.paths.mp4, plugin="FFMPEG")
    assert (meta["fps"], meta["codec"], meta["size"]) == (60, "h264", (96, 64))
    assert meta["pix_fmt"].startswith("yuv420p(tv, bt709")
    mp4 = read_mp4(writer.paths.mp4)
    assert mp4.shape == shown.shape
    # H.264 is lossy, and colours have half the resolution.
    assert np.abs(mp4.astype(int) - shown).mean() < 5

    gif = iio.imread(writer.paths.gif, plugin="pillow", mode="RGB")
    assert gif.shape == (10, 64, 96, 3)  # 20 of 60 frames per second
    assert [iio.immeta(writer.paths.gif, index=i)["duration"] for i in (0, 5, 9)] == [50] * 3
    # The left edge of the block moves by 6 pixels from one frame to the next.
    for i in range(9):
        step = (gif[i + 1, 8].min(-1) > 240).argmax() - (gif[i, 8].min(-1) > 240).argmax()
        assert step == pytest.approx(6, abs=2)
    assert np.abs(gif[:, 40:].astype(int) - (200, 40, 90)).max() < 12


def test_slow_videos_keep_their_speed(tmp_path: pathlib.Path) -> None:
    writer = VideoWriter(paths(tmp_path), 5)
    for frame in frames(4):
        writer.write(frame)
    writer.finish()
    assert iio.immeta(writer.paths.mp4, plugin="FFMPEG")["fps"] == 5
    assert len(read_mp4(writer.paths.mp4)) == 4
    gif = iio.imread(writer.paths.gif, plugin="pillow", mode="RGB")
    assert len(gif) == 4
    assert iio.immeta(writer.paths.gif, index=1)["duration"] == 200


def test_a_gif_is_of_the_beginning(tmp_path: pathlib.Path) -> None:
    writer = VideoWriter(paths(tmp_path), 5)
    for frame in frames(130, width=400):
        writer.write(frame)
    writer.finish()
    assert len(read_mp4(writer.paths.mp4)) == 130
    assert iio.imread(writer.paths.gif, plugin="pillow", mode="RGB").shape[0] == 100  # 20 s


def test_what_ffmpeg_cannot_write(tmp_path: pathlib.Path) -> None:
    writer = VideoWriter(paths(tmp_path), 60)
    with pytest.raises(OSError, match="^ffmpeg failed to write .*: .*height not divisible by 2"):
        try:
            for frame in frames(1000, height=63):
                writer.write(frame)
            writer.finish()
        finally:
            writer.abandon()
    assert list(tmp_path.iterdir()) == []


def test_frames_of_another_size(tmp_path: pathlib.Path) -> None:
    writer = VideoWriter(paths(tmp_path), 60)
    writer.write(frames(1)[0])
    with pytest.raises(ValueError, match=r"a frame is \(64, 98, 3\); the first one was \(64, 96"):
        writer.write(frames(1, width=98)[0])
    writer.abandon()
    assert list(tmp_path.iterdir()) == []


def test_two_programs_do_not_write_one_file(tmp_path: pathlib.Path) -> None:
    first, second = VideoWriter(paths(tmp_path), 60), VideoWriter(paths(tmp_path), 60)
    first.write(frames(1)[0])
    with pytest.raises(FileExistsError):
        second.write(frames(1)[0])
    second.abandon()
    first.finish()
    assert first.paths.mp4.exists()


STATE = PanelState("game", 0, 0, 0.0, None, [], (np.inf, -np.inf), ("a", "b"))


@pytest.mark.parametrize(
    ("height", "width", "factor", "full"),
    [
        (210, 160, 2, 420),
        (10, 5, 42, 420),
        (400, 600, 1, 420),
        (901, 333, 1, 902),
        (2, 100, 8, 420),
    ],
)
def test_pictures_are_enlarged_by_whole_factors(
    height: int, width: int, factor: int, full: int
) -> None:
    pictures = np.random.default_rng(0).integers(256, size=(2, height, width, 3), dtype=np.uint8)
    shown = compose(pictures, STATE)
    assert len(shown) == 2
    left = width * factor + width * factor % 2
    top = (full - height * factor) // 2
    for picture, frame in zip(pictures, shown, strict=True):
        assert frame.shape == (full, left + WIDTH, 3)
        game = frame[top : top + height * factor, : width * factor]
        blocks = game.reshape(height, factor, width, factor, 3)
        assert (blocks == picture[:, None, :, None]).all()
        np.testing.assert_array_equal(frame[:, left:], draw_panel(STATE, full))


def test_without_pictures_there_is_the_panel_alone() -> None:
    (frame,) = compose(None, STATE)
    np.testing.assert_array_equal(frame, draw_panel(STATE))
    assert frame.shape == (HEIGHT, WIDTH, 3)


class Tape(observers.EnvLoopObserver):
    """Records what happened."""

    def __init__(self) -> None:
        self.timesteps: list[dm_env.TimeStep] = []
        self.actions: list[int] = []

    def observe_first(self, env: dm_env.Environment, timestep: dm_env.TimeStep) -> None:
        self.timesteps.append(timestep)

    def observe(
        self, env: dm_env.Environment, timestep: dm_env.TimeStep, action: np.ndarray
    ) -> None:
        self.timesteps.append(timestep)
        self.actions.append(int(action))

    def get_metrics(self) -> dict[str, float]:
        return {}


recorders: list[EpisodeRecorder] = []


def film(
    directory: RunDirectory, index: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[Tape, list[tuple[Any, PanelState]], VideoWriter, EpisodeResult]:
    """Films an episode; returns what happened, what was drawn, the video and the result."""
    drawn: list[tuple[Any, PanelState]] = []

    def draw(pictures: Any, state: PanelState) -> list[np.ndarray]:
        drawn.append((pictures, state))
        return compose(pictures, state)

    monkeypatch.setattr(video, "compose", draw)
    config, policy = directory.read_config(), restore_policy(directory)
    networks = make_run_networks(config)
    source = FixedVariables(policy, config.agent)
    player = TaskPlayer(config, networks, index, source, greedy=False, seed=1, filmed=True)
    assert player.screen is not None
    writer = VideoWriter(paths(directory.videos), player.screen.frames_per_second)
    recorder = EpisodeRecorder(
        writer,
        player.screen,
        player.actor,
        task=config.tasks[index],
        index=index,
        scale=SCALE,
        action_repeat=config.task_list()[index].action_repeat,
    )
    recorders.append(recorder)
    tape = Tape()
    result = player.play(recorder, tape)
    writer.finish()
    player.close()
    return tape, drawn, writer, result


SCALE = Scale(np.array([3.0, -70.0], np.float32), np.array([2.0, 50.0], np.float32))  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "flags"),
    [
        ("catch_x1,catch_x100", ["--use_lstm"]),
        ("catch_x1,catch_x100", ["--network=attentive", "--subnets=3"]),
        ("pong,seaquest", ["--max_frames_per_episode=82"]),
    ],
)
def test_the_numbers_are_those_of_the_picture(
    level: str, flags: list[str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values, probabilities and attention recomputed from what the environment showed."""
    index = 1
    directory = make_run(tmp_path, level, *flags)
    tape, drawn, writer, result = film(directory, index, monkeypatch)
    config, params = directory.read_config(), restore_policy(directory).params
    networks = make_run_networks(config)
    compute = jax.jit(networks.step)
    recurrent = networks.initial_state(1)
    assert len(drawn) == len(tape.timesteps) == result.episode_length + 1
    rewards, values = 0.0, []
    for step, (timestep, (_, state)) in enumerate(zip(tape.timesteps, drawn, strict=True)):
        rewards += timestep.reward or 0.0
        assert (state.task, state.step) == (config.tasks[index], step)
        assert state.episode_return == pytest.approx(rewards)
        if timestep.last():
            assert state.choice is None
            break
        inputs = AgentInput(
            features=np.asarray(timestep.observation.features)[None],
            task=np.array([index], np.int32),
            previous_action=np.array([tape.actions[step - 1] if step else 0], np.int32),
            previous_reward=np.array([timestep.reward or 0.0], np.float32),
            first=np.array([step == 0]),
        )
        output, recurrent = compute(params, inputs, recurrent)
        assert state.choice is not None
        values.append(-70 + 50 * float(output.normalised_values[0, index]))
        assert state.choice.value == pytest.approx(values[-1], rel=1e-4, abs=1e-3)
        probabilities = jax.nn.softmax(output.logits[0])
        np.testing.assert_allclose(state.choice.probabilities, probabilities, atol=1e-5)
        assert state.choice.action == tape.actions[step]
        np.testing.assert_allclose(state.values, values, rtol=1e-4, atol=1e-3)
        assert state.value_range == pytest.approx((min(values), max(values)), rel=1e-4, abs=1e-3)
        if output.attention is None:
            assert state.choice.attention is None
        else:
            assert state.choice.attention is not None
            np.testing.assert_allclose(state.choice.attention, output.attention[0], atol=1e-5)
    assert state.episode_return == pytest.approx(result.episode_return)

    mp4 = read_mp4(writer.paths.mp4)
    shown = [compose(pictures, state) for pictures, state in drawn]
    assert len(mp4) == sum(map(len, shown))
    difference = np.abs(mp4.astype(np.int16) - np.concatenate(shown)).mean((1, 2, 3))
    assert difference.max() < 6
    if level.startswith("pong"):
        # The first picture, 20 whole steps, and two frames up to the time limit.
        assert [len(pictures) for pictures, _ in drawn] == [1, *[4] * 20, 2]
        assert [state.frame for _, state in drawn] == [*range(0, 81, 4), 82]
        assert mp4.shape[1:] == (420, 640, 3)
        assert iio.immeta(writer.paths.mp4, plugin="FFMPEG")["fps"] == 60
    else:
        assert [state.frame for _, state in drawn] == list(range(10))
        assert mp4.shape == (10, 420, 210 + WIDTH, 3)


def test_pictures_of_another_size_are_fitted() -> None:
    picture = np.full((10, 20, 3), 200, np.uint8)
    assert fitted(picture, (10, 20)) is picture
    larger = fitted(picture, (40, 40))
    assert larger.shape == (40, 40, 3)
    assert (larger[10:30] == 200).all()
    assert not larger[:10].any()
    assert not larger[30:].any()
    assert fitted(picture, (5, 4)).shape == (5, 4, 3)


def nothing_drawn(step: int) -> Any:
    return None


def one_drawn(step: int) -> Any:
    """The first picture, then errors, then a larger picture."""
    if step == 1:
        raise RuntimeError("lost the display")
    return np.full((8, 6, 3) if step == 0 else (16, 12, 3), 200, np.uint8)


@pytest.mark.parametrize(
    ("draw", "missing", "shape"),
    [
        (nothing_drawn, "render() returned None", None),
        (one_drawn, "RuntimeError: lost the display", (1, 8, 6, 3)),
    ],
)
def test_an_environment_whose_render_fails(
    draw: Any,
    missing: str,
    shape: tuple[int, ...] | None,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Shows the panel alone, or black for a missing picture; the episode is played."""
    directory = make_run(tmp_path, "catch_x1")
    from environments.toy.catch import Catch

    calls = iter(range(100))
    monkeypatch.setattr(Catch, "render", lambda self: draw(next(calls)), raising=False)
    tape, drawn, writer, result = film(directory, 0, monkeypatch)
    assert result.episode_length == 9
    assert [None if p is None else p.shape for p, _ in drawn] == [shape] * 10
    assert len(read_mp4(writer.paths.mp4)) == 10
    assert recorders[-1].missing == missing
    if shape is not None:
        assert [int(pictures.max()) for pictures, _ in drawn] == [200, 0, *[200] * 8]


def test_an_environment_that_draws_into_one_picture(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make_run(tmp_path, "catch_x1")
    from environments.toy.catch import Catch

    canvas = np.zeros((20, 20, 3), np.uint8)

    def render(self: Catch) -> np.ndarray:
        canvas[:] += 1
        return canvas

    monkeypatch.setattr(Catch, "render", render, raising=False)
    _, drawn, _, _ = film(directory, 0, monkeypatch)
    assert [int(pictures[0, 0, 0, 0]) for pictures, _ in drawn] == list(range(1, len(drawn) + 1))
