"""Checkpoints: the learner's whole state and the run's counts, kept by Orbax."""

import itertools
import json
import pathlib
import re
import shlex
import shutil
import sys
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from agents.popart_impala.popart import PopArtState
from agents.popart_impala.training_state import TrainingState
from agents.popart_impala.types import Params
from launch_programs.run.run_directory import RunDirectory, checkpoint_steps

# Number of checkpoints always kept: the newest, and older ones to fall back to.
_NEWEST = 3

# Directories that Orbax has not finished are named STEP.orbax-checkpoint-tmp.
_UNFINISHED = "*.orbax-checkpoint-tmp*"

# Seconds that a failed save waits for threads that are still writing.
_WRITERS_TIMEOUT = 2.0

# Seconds that removing a checkpoint may take; meanwhile only some of its files are there.
_REMOVAL = 0.5

_T = TypeVar("_T")


class CheckpointError(OSError):
    """A checkpoint could not be written, or none could be read; the message says which and why."""


def _print_warning(text: str) -> None:
    print("warning:", text, file=sys.stderr, flush=True)


class SavedPolicy(NamedTuple):
    """The part of a checkpoint needed for acting."""

    params: Params
    popart: PopArtState  # statistics that scale its values
    steps: int  # learner steps
    frames: int  # environment frames


class Checkpointer:
    """Saves and restores checkpoints in one directory; a save is all or nothing.

    The newest checkpoint may still be damaged, by the disk or by hand. Restoring then warns and
    falls back to the one before. Unless `read_only`, it renames the damaged one to `broken-STEP`:
    the files stay, but no longer count as a checkpoint.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        *,
        keep_interval: int | None = None,
        read_only: bool = False,
        warn: Callable[[str], None] = _print_warning,
    ):
        """Opens the directory; creates it if missing, unless `read_only`.

        Args:
          directory: directory of the checkpoints.
          keep_interval: the first checkpoint is kept for good, and then the next one at least this
            many learner steps later, and so on. None keeps only the newest.
          read_only: change nothing in the directory.
          warn: called with a line about each damaged checkpoint; prints to standard error by
            default.
        """
        self._directory = directory.absolute()
        self._warn = warn
        self._read_only = read_only
        newest = policies.LatestN(None if read_only else _NEWEST)
        keep = [] if keep_interval is None else [policies.EveryNSteps(keep_interval, False)]
        self._manager = ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy([newest, *keep]),
                create=not read_only,
                read_only=read_only,
                # Saving takes some 30 ms; a background write in progress when a stop is requested
                # would only complicate matters.
                enable_async_checkpointing=False,
            ),
        )

    @property
    def latest_step(self) -> int | None:
        """Learner step of the newest checkpoint, None without one.

        A damaged checkpoint counts until restoring has found the damage and renamed the checkpoint.
        """
        return self._manager.latest_step()

    def save(self, state: TrainingState, counts: Mapping[str, float]) -> None:
        """Saves `state` unless a checkpoint of the same step exists.

        Args:
          state: NumPy arrays, as `PopArtIMPALALearner.save` returns.
          counts: counts of the program's counter.

        Raises:
          CheckpointError: the state cannot be written, as on a full disk, or there is a newer
            checkpoint. Existing checkpoints are unchanged, and saving may be retried later.
        """
        latest = self.latest_step
        if state.steps == latest:
            return
        path = self._directory / str(state.steps)
        if latest is not None and latest > state.steps:
            raise CheckpointError(f"cannot save {path}: there is a newer checkpoint, {latest}")
        self._remove_unfinished()
        arrays = _arrays(state)
        info = {"steps": state.steps, "frames": state.frames, "counts": dict(counts)}
        info["checksum"] = _checksum(arrays, info)
        others = set(threading.enumerate())
        try:
            self._manager.save(
                state.steps,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(arrays), info=ocp.args.JsonSave(info)
                ),
            )
        except (OSError, ValueError) as error:
            if not _is_from_storage(error):
                raise
            # Orbax raises the first error while its other threads still write and start more.
            deadline = time.monotonic() + _WRITERS_TIMEOUT
            while set(threading.enumerate()) - others and time.monotonic() < deadline:
                time.sleep(0.01)
            self._remove_unfinished()
            raise CheckpointError(f"cannot save {path}: {_cause(error)}") from error

    def _remove_unfinished(self) -> None:
        """Removes what failed saves and killed processes left behind, as far as possible."""
        for path in self._directory.glob(_UNFINISHED):
            shutil.rmtree(path, ignore_errors=True)

    def restore(self, like: TrainingState) -> tuple[TrainingState, dict[str, float]] | None:
        """State and counts of the newest readable checkpoint, None without a checkpoint.

        Args:
          like: a state with the same structure, shapes and dtypes.

        Raises:
          CheckpointError: there are checkpoints, but none can be read.
          ValueError: the checkpoint's structure or shapes differ from those of `like`.
        """

        def read(step: int) -> tuple[int, Any]:
            # Given `like`, Orbax raises ValueError both for a missing file and for a different
            # structure. So the files are first read without it.
            return step, self._read_whole(step).state

        found = self._newest_readable(read)
        if found is None:
            return None
        step, whole = found
        arrays = {**_arrays(like), "popart": whole["popart"]}  # earlier versions' may differ
        restored = self._read(step, ocp.args.StandardRestore(arrays))
        _check_shapes(restored.state, arrays, self._directory / str(step))
        info = restored.info
        state = {**restored.state, "popart": _statistics(restored.state["popart"])}
        return (
            TrainingState(**state, steps=info["steps"], frames=info["frames"]),
            info["counts"],
        )

    def restore_policy(self, step: int | None = None) -> SavedPolicy | None:
        """The policy in a checkpoint, None without a checkpoint.

        Args:
          step: learner step of the checkpoint; None for the newest that can be read.

        Raises:
          CheckpointError: there are checkpoints, but none, or not the given one, can be read.
        """

        def read(step: int) -> SavedPolicy:
            restored = self._read_whole(step)
            return SavedPolicy(
                restored.state["params"],
                _statistics(restored.state["popart"]),
                restored.info["steps"],
                restored.info["frames"],
            )

        if step is None:
            return self._newest_readable(read)
        try:
            return read(step)
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{self._directory / str(step)} cannot be read: {_cause(error)}"
            ) from error

    def _read(self, step: int, state: ocp.args.StandardRestore) -> Any:
        return self._manager.restore(
            step, args=ocp.args.Composite(state=state, info=ocp.args.JsonRestore())
        )

    def _read_whole(self, step: int) -> Any:
        """State, as nested dicts and lists, and info of a checkpoint, verified by its checksum."""
        restored = self._read(step, ocp.args.StandardRestore())
        info = dict(restored.info)
        saved = info.pop("checksum", None)  # earlier versions saved none
        if saved is not None and saved != _checksum(restored.state, info):
            raise ValueError("its contents are not those of its checksum")
        return restored

    def _newest_readable(self, read: Callable[[int], _T]) -> _T | None:
        """Result of `read` for the newest step it succeeds on; None without a checkpoint."""
        causes: dict[int, str] = {}
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            try:
                found = read(step)
            except (OSError, ValueError, KeyError) as error:
                removed = self._read_only and not (self._directory / str(step)).exists()
                if not removed or step == min(steps):
                    causes[step] = _cause(error)
                continue
            for broken, cause in causes.items():
                self._put_aside(broken, cause, step)
            return found
        if not causes:
            return None
        # All stay in place: whether to start over is not for this program to decide.
        listed = "; ".join(f"{step}: {cause}" for step, cause in causes.items())
        raise CheckpointError(f"no checkpoint in {self._directory} can be read: {listed}")

    def _put_aside(self, step: int, cause: str, fallback: int) -> None:
        path = self._directory / str(step)
        if self._read_only:
            self._warn(f"{path} cannot be read, using {fallback} instead: {cause}")
            return
        names = itertools.chain(
            [f"broken-{step}"], (f"broken-{step}-{n}" for n in itertools.count(2))
        )
        aside = next(a for a in (self._directory / name for name in names) if not a.exists())
        try:
            path.rename(aside)
        except OSError as error:
            raise CheckpointError(
                f"{path} is damaged ({cause}) and cannot be renamed: {_cause(error)}"
            ) from error
        self._manager.reload()
        self._warn(f"{path} is damaged, now named {aside.name}; using {fallback} instead: {cause}")


def _checksum(arrays: Any, info: Mapping[str, Any]) -> int:
    """Checksum of all numbers, in whatever containers; Orbax keeps none for large arrays' files."""
    leaves = sorted(zlib.crc32(np.asarray(x).tobytes()) for x in jax.tree.leaves(arrays))
    return zlib.crc32(json.dumps([leaves, info], sort_keys=True).encode())


def _is_from_storage(error: Exception) -> bool:
    """Whether a file could not be written, rather than an argument being wrong.

    TensorStore raises ValueErrors that begin with a status like `RESOURCE_EXHAUSTED: `.
    """
    return isinstance(error, OSError) or re.match(r"[A-Z_]+: ", str(error)) is not None


def _cause(error: Exception) -> str:
    """An error as one short line; TensorStore's run to kilobytes, with the root cause last."""
    text = " ".join(re.split(r" \[(?:source locations|tensorstore_spec)=", str(error))[0].split())
    if len(text) > 500:
        text = f"{text[:150]} ... {text[-350:]}"
    return f"{type(error).__name__}: {text}"


def _check_shapes(restored: Any, like: Any, path: pathlib.Path) -> None:
    """Raises ValueError for the first array of a different shape, which Orbax accepts."""
    expected = jax.tree_util.tree_leaves_with_path(like)
    for array, (name, other) in zip(jax.tree.leaves(restored), expected, strict=True):
        if np.shape(array) != np.shape(other):
            raise ValueError(
                f"{path} is of another network: {jax.tree_util.keystr(name)} has shape "
                f"{np.shape(array)}, not {np.shape(other)}"
            )


def _arrays(state: TrainingState) -> dict[str, Any]:
    return {
        "params": state.params,
        "opt_state": state.opt_state,
        "popart": state.popart._asdict(),
    }


def _statistics(saved: Mapping[str, Any]) -> PopArtState:
    """PopArt's statistics. Earlier versions saved less: none of advantages, some none of rewards.

    What is missing is set so that advantages keep about their scale; updates then adapt it.
    """
    statistics = dict(saved)
    deviation = statistics.pop("deviation", None)
    square = saved["variance"] if deviation is None else deviation**2
    missing = {
        "reward_square": np.float32(0.25) * square,
        "advantage_mean": np.zeros_like(saved["mean"]),
        "advantage_variance": np.float32(0.1) * square,
    }
    return PopArtState(**{**missing, **statistics})


def has_checkpoint(directory: RunDirectory) -> bool:
    """Whether a run's directory has a checkpoint, readable or not."""
    return directory.checkpoints.is_dir() and bool(checkpoint_steps(directory.checkpoints))


def _while_training(checkpoints: pathlib.Path, read: Callable[["Checkpointer"], _T]) -> _T:
    """Result of `read` on a directory from which a learner may be removing checkpoints.

    Args:
      checkpoints: directory of the checkpoints.
      read: called again if it fails and the set of checkpoints has changed.

    Raises:
      Exception: whatever `read` raises while the set of checkpoints is unchanged.
    """
    while True:
        before = checkpoint_steps(checkpoints)
        try:
            return read(Checkpointer(checkpoints, read_only=True))
        except (OSError, ValueError, KeyError):
            time.sleep(_REMOVAL)
            if set(checkpoint_steps(checkpoints)) == set(before):
                raise


def restore_policy(directory: RunDirectory, step: int | None = None) -> SavedPolicy:
    """Reads a policy from a run's checkpoint.

    Args:
      directory: directory of the run.
      step: learner step of the checkpoint; None for the newest that can be read.

    Raises:
      ValueError: the run has no checkpoint.
      CheckpointError: it has checkpoints, but none, or not the given one, can be read.
    """
    policy = None
    if directory.checkpoints.is_dir():
        policy = _while_training(directory.checkpoints, lambda reader: reader.restore_policy(step))
    if policy is None:
        train = ["python", "-m", "launch_programs.train", f"--logdir={directory.path}"]
        raise ValueError(
            f"{directory.path} has no checkpoint yet: train it first, with {shlex.join(train)}"
        )
    return policy
