"""Videos of evaluated episodes: an MP4 and a GIF each, the game beside a panel of numbers.

Both are streamed to disk, so memory does not grow with the length of the episode.
"""

import collections
import contextlib
import pathlib
import re
import subprocess
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

import dm_env
import imageio_ffmpeg
import numpy as np
from acme.utils import observers
from PIL import Image

from agents.popart_impala.acme_actor import Actor
from agents.popart_impala.popart import Scale
from environments import NoPicture, Screen
from launch_programs.views import video_panel
from launch_programs.views.video_panel import Choice, PanelState

# Limits of a GIF, which hardly compresses between frames: seconds from the episode's start, and
# frames per second. A frame's delay is a whole number of hundredths of a second.
GIF_SECONDS = 20
_GIF_RATE = 20

_MP4_OPTIONS = [
    # Converts and tags colours for browsers, which would otherwise guess.
    "-vf",
    "scale=out_color_matrix=bt709:out_range=tv,"
    "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709",
    *("-preset", "veryfast", "-crf", "20"),
    *("-movflags", "+faststart"),  # plays before it has loaded completely
]


class VideoPaths(NamedTuple):
    """The files of one episode."""

    mp4: pathlib.Path
    gif: pathlib.Path

    @property
    def taken(self) -> bool:
        """Whether a file exists already, or a partial one that another program is writing."""
        return any(path.exists() for path in (*self, *map(_partial, self)))


def video_paths(folder: pathlib.Path, tasks: Sequence[str], suffix: str) -> list[VideoPaths]:
    """TASK-SUFFIX.mp4 and .gif for each task, with "_" for characters that may not be portable.

    Args:
      folder: directory of the files.
      tasks: all tasks of the run; those that would share a file name also get their index.
      suffix: suffix of all names.
    """
    names = [re.sub(r"[^\w.-]", "_", task, flags=re.ASCII)[:100] for task in tasks]
    return [
        VideoPaths(*(folder / f"{unique}-{suffix}.{kind}" for kind in ("mp4", "gif")))
        for unique in (
            name if names.count(name) == 1 else f"{name}-task{index}"
            for index, name in enumerate(names)
        )
    ]


def _partial(path: pathlib.Path) -> pathlib.Path:
    """The path of a file while it is being written."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


class VideoWriter:
    """Writes frames to an MP4 file and, at the end, the beginning of the file to a GIF."""

    def __init__(self, paths: VideoPaths, frames_per_second: float):
        """Writes nothing yet.

        Args:
          paths: paths of the files, which appear only once both are complete.
          frames_per_second: frame rate of the MP4 file.
        """
        self.paths = paths
        self._rate = frames_per_second
        self._shape: tuple[int, ...] | None = None
        self._encoder: _Encoder | None = None

    def write(self, frame: np.ndarray) -> None:
        """Appends a frame.

        Args:
          frame: uint8 [H, W, 3], as large as the first one; H and W are even.

        Raises:
          ValueError: the frame has a different size.
          FileExistsError: another program is writing the file.
          OSError: the frame cannot be written.
        """
        if self._encoder is None:
            self._shape = frame.shape
            partial = _partial(self.paths.mp4)
            partial.parent.mkdir(exist_ok=True)
            partial.touch(exist_ok=False)
            self._encoder = _Encoder(partial, frame.shape[0], frame.shape[1], self._rate)
        if frame.shape != self._shape:
            raise ValueError(f"a frame is {frame.shape}; the first one was {self._shape}")
        self._encoder.write(frame)

    def finish(self) -> None:
        """Completes the files.

        Raises:
          OSError: they cannot be written.
        """
        assert self._encoder is not None  # an episode has frames
        self._encoder.finish()
        mp4, gif = map(_partial, self.paths)
        _write_gif(mp4, gif, self._rate)
        gif.rename(self.paths.gif)
        mp4.rename(self.paths.mp4)

    def abandon(self) -> None:
        """Removes unfinished files; does nothing if they are finished."""
        if self._encoder is None:
            return
        self._encoder.kill()
        for path in map(_partial, self.paths):
            path.unlink(missing_ok=True)


class _Encoder:
    """An ffmpeg process that takes frames and writes H.264.

    imageio's own writer is not used: it starts ffmpeg through a fork that runs Python code, which
    may hang in a process with threads.
    """

    def __init__(self, path: pathlib.Path, height: int, width: int, rate: float):
        self._path = path
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        self._process = subprocess.Popen(
            [
                *(imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error"),
                *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"),
                *("-r", f"{rate:g}", "-i", "-"),
                *("-c:v", "libx264", "-pix_fmt", "yuv420p", *_MP4_OPTIONS, str(path)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            start_new_session=True,  # so that Ctrl-C reaches only the evaluation
        )

    def write(self, frame: np.ndarray) -> None:
        """Sends a frame; raises OSError if ffmpeg has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(np.ascontiguousarray(frame).data)
        except BrokenPipeError:
            self.finish()

    def finish(self) -> None:
        """Completes the file; raises OSError if that fails."""
        try:
            self._process.communicate()
        except BrokenPipeError:
            self._process.wait()
        if self._process.returncode:
            self._errors.seek(0)
            cause = " ".join(self._errors.read().decode(errors="replace").split())
            raise OSError(f"ffmpeg failed to write {self._path}: {cause}")

    def kill(self) -> None:
        """Kills ffmpeg if it is still running, and closes its files."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._errors.close()


def _write_gif(mp4: pathlib.Path, gif: pathlib.Path, rate: float) -> None:
    """Writes the beginning of an MP4 file as a GIF, at its speed, with one palette throughout."""
    palette = gif.with_suffix(".png")
    thinned = f"fps={min(rate, _GIF_RATE):g}:round=up"  # one frame must be enough for a GIF
    first = ["-t", str(GIF_SECONDS), "-i", str(mp4)]
    try:
        # Two passes: in one, ffmpeg keeps every frame in memory until the palette is known.
        _ffmpeg(*first, "-vf", f"{thinned},palettegen=stats_mode=full", str(palette))
        _ffmpeg(
            *first,
            *("-i", str(palette)),
            *("-lavfi", f"{thinned}[x];[x][1:v]paletteuse=dither=none:diff_mode=rectangle"),
            *("-loop", "0", str(gif)),
        )
    finally:
        palette.unlink(missing_ok=True)


def _ffmpeg(*arguments: str) -> None:
    done = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise OSError(f"ffmpeg failed to write {arguments[-1]}: {' '.join(done.stderr.split())}")


class EpisodeRecorder(observers.EnvLoopObserver):
    """Writes one episode of Acme's EnvironmentLoop to a video.

    Each picture appears beside what the policy computed from it and the action that followed; all
    frames of a step appear beside what was computed from the last of them. The last picture of the
    episode appears without a choice.
    """

    def __init__(
        self,
        writer: VideoWriter,
        screen: Screen,
        actor: Actor,
        *,
        task: str,
        index: int,
        scale: Scale | None,
        action_repeat: int,
        value_label: str = "value",
    ):
        """Observes the actor's next episode.

        Args:
          writer: writer that takes the frames.
          screen: screen of the environment.
          actor: the actor that plays, with a policy that computes values.
          task: name of the task.
          index: index of the task.
          scale: PopArt's scale of the values; None if the policy has no value for this task.
          action_repeat: environment frames per step.
          value_label: label of the values.
        """
        self._writer = writer
        self._screen = screen
        self._actor = actor
        self._task = task
        self._index = index
        self._scale = scale
        self._action_repeat = action_repeat
        self._label = value_label
        self._values: collections.deque[float] = collections.deque(maxlen=video_panel.CURVE_LENGTH)
        self._range = (np.inf, -np.inf)
        self._step = 0
        self._frame = 0
        self._return = 0.0
        self._pictures: np.ndarray | None = None  # not written yet: [F, H, W, 3], None without any
        # Height and width of the first picture, to which all others are fitted. None if the
        # video shows only the panel.
        self._size: tuple[int, int] | None = None
        self._missing = ""

    @property
    def missing(self) -> str:
        """Why the first missing picture is not in the video; "" if none is missing."""
        return self._missing

    def observe_first(self, env: dm_env.Environment, timestep: dm_env.TimeStep) -> None:
        """Takes the first picture."""
        self._pictures = self._seen(timestep)
        if self._pictures is not None:
            _, height, width, _ = self._pictures.shape
            self._size = height, width

    def observe(
        self, env: dm_env.Environment, timestep: dm_env.TimeStep, action: np.ndarray
    ) -> None:
        """Writes the pictures from before the action, and takes those that follow it."""
        self._write(self._choice(int(action)))
        self._step += 1
        self._pictures = self._look(timestep)
        self._frame += self._action_repeat if self._pictures is None else len(self._pictures)
        self._return += float(timestep.reward)
        if timestep.last():
            self._write(None)

    def get_metrics(self) -> dict[str, float]:
        """Returns no metrics."""
        return {}

    def _look(self, timestep: dm_env.TimeStep) -> np.ndarray | None:
        """The pictures of a step, uint8 [F, H, W, 3], fitted to the size of the first."""
        if self._size is None:
            return None
        pictures = self._seen(timestep)
        if pictures is None:
            return np.zeros((1, *self._size, 3), np.uint8)
        return np.stack([fitted(picture, self._size) for picture in pictures])

    def _seen(self, timestep: dm_env.TimeStep) -> np.ndarray | None:
        if self._screen.frames is None:
            return None
        try:
            # A copy, since it is written after the next step, which may reuse the array.
            return np.array(self._screen.frames(timestep.observation))
        except NoPicture as error:
            self._missing = self._missing or str(error)
            return None

    def _choice(self, action: int) -> Choice:
        step = self._actor.last_step
        assert step is not None and step.normalised_values is not None
        value = None
        if self._scale is not None:
            mu, sigma = (float(statistic[self._index]) for statistic in self._scale)
            value = sigma * float(step.normalised_values[0, self._index]) + mu
            self._values.append(value)
            self._range = (min(self._range[0], value), max(self._range[1], value))
        logits = np.asarray(step.logits[0], np.float64)
        weights = np.exp(logits - logits.max())
        return Choice(
            value,
            weights / weights.sum(),
            action,
            None if step.attention is None else np.asarray(step.attention[0]),
        )

    def _write(self, choice: Choice | None) -> None:
        state = PanelState(
            self._task,
            self._step,
            self._frame,
            self._return,
            choice,
            list(self._values),
            self._range,
            self._screen.action_names,
            self._label,
        )
        for frame in compose(self._pictures, state):
            self._writer.write(frame)


def fitted(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scales a picture to fit into a given size, centred on black.

    Args:
      picture: uint8 [H, W, 3].
      size: height and width.

    Returns:
      uint8 [*size, 3]; the picture itself if it has that size.
    """
    if picture.shape[:2] == size:
        return picture
    (height, width), old = size, picture.shape[:2]
    scale = min(height / old[0], width / old[1])
    new = (max(1, round(old[0] * scale)), max(1, round(old[1] * scale)))
    small = Image.fromarray(picture).resize((new[1], new[0]), Image.Resampling.NEAREST)
    top, left = (height - new[0]) // 2, (width - new[1]) // 2
    whole = np.zeros((height, width, 3), np.uint8)
    whole[top : top + new[0], left : left + new[1]] = np.asarray(small)
    return whole


def compose(pictures: np.ndarray | None, state: PanelState) -> list[np.ndarray]:
    """Video frames of pictures beside the panel, with small pictures enlarged by a whole factor.

    Args:
      pictures: uint8 [F, H, W, 3]; None for one frame with only the panel.
      state: state that the panel shows beside all of them.

    Returns:
      F frames uint8 [H', W', 3], H' and W' even.
    """
    if pictures is None:
        return [video_panel.draw_panel(state)]
    height, width = pictures.shape[1:3]
    factor = max(1, video_panel.HEIGHT // height)
    if width * factor > 2 * video_panel.HEIGHT:
        factor = max(1, 2 * video_panel.HEIGHT // width)
    height, width = height * factor, width * factor
    full = max(video_panel.HEIGHT, height + height % 2)
    panel = video_panel.draw_panel(state, full)
    left = width + width % 2
    frames = []
    for picture in pictures:
        frame = np.zeros((full, left + video_panel.WIDTH, 3), np.uint8)
        large = picture.repeat(factor, axis=0).repeat(factor, axis=1)
        top = (full - height) // 2
        frame[top : top + height, :width] = large
        frame[:, left:] = panel
        frames.append(frame)
    return frames
