"""A run's directory: its layout, and the lock on it."""

import contextlib
import fcntl
import itertools
import json
import os
import pathlib
import shlex
import sys
import time
from collections.abc import Sequence
from typing import IO, Any

from launch_programs.run.run_config import RunConfig, from_json

# Seconds that a claim waits, since a process that tests the lock holds it for a moment.
_PROBE = 0.5


class RunDirectory:
    """Paths of a run; reads and writes its configuration, and locks it.

    config.json        the resolved configuration
    provenance.json    code, packages and machine of each start of the learner
    cluster.json       where the nodes listen, if they are started by hand (cluster.py)
    checkpoints/       the newest checkpoints, named by learner step; damaged ones as broken-STEP
    learner.csv        a row of the learner's metrics per log interval
    actors.csv         a row per training episode
    evaluator.csv      a row per episode of the evaluator
    events.out.*       the same for TensorBoard
    wandb/             what was sent to Weights & Biases, and the run's id there
    evaluation-*.json  results of `launch_programs.evaluate`, with scores also as .csv
    videos/            episodes that it filmed; evaluation-*.json lists them
    report.html        all of this on one page, by `launch_programs.report`
    plots/             figures of the run's tables, by `launch_programs.plot`
    *.policy.npz       policies written by `launch_programs.export`, unless given another path
    last-checkpoint    step of the newest checkpoint, as the learner told the coordinator
    launch.json        the program last used to start the run, and its flags that are not settings
    failed             why the program ended, if it failed; removed at the next start
    failures.csv       a row per failure that the run recovered from, and how it was handled
    progress.log       a line of progress per log interval, and one per failure
    logs/              the output of each node
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = user_path(path)
        self.config = self.path / "config.json"
        self.provenance = self.path / "provenance.json"
        self.cluster = self.path / "cluster.json"
        self.checkpoints = self.path / "checkpoints"
        self.tables = {
            name: self.path / f"{name}.csv" for name in ("learner", "actors", "evaluator")
        }
        self.failures = self.path / "failures.csv"
        self.launch = self.path / "launch.json"
        self.failed = self.path / "failed"
        self.last_checkpoint = self.path / "last-checkpoint"
        self.videos = self.path / "videos"
        self.progress = self.path / "progress.log"
        self.report = self.path / "report.html"
        self.plots = self.path / "plots"
        self.logs = self.path / "logs"
        self.launcher_log = self.logs / "launcher"
        self._lock_path = self.path / ".lock"
        self._lock_file: IO[str] | None = None

    def read_config(self) -> RunConfig:
        """Reads the run's configuration.

        Raises:
          ValueError: there is none, or it cannot be read.
        """
        try:
            values = json.loads(self.config.read_text())
        except FileNotFoundError:
            raise ValueError(f"{self.path} is not a run directory: it has no config.json") from None
        except json.JSONDecodeError as error:
            raise ValueError(f"{self.config} is not JSON: {error}") from error
        try:
            return from_json(values)
        except ValueError as error:
            raise ValueError(f"{self.config}: {error}") from error

    def write_config(self, config: RunConfig) -> None:
        """Writes or replaces the configuration, all or nothing."""
        write_json(self.config, config.to_json())

    def read_last_checkpoint(self) -> int | None:
        """The learner step in `last-checkpoint`; None if no checkpoint has been reported.

        Raises:
          ValueError: the file is damaged.
        """
        try:
            return int(self.last_checkpoint.read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            raise ValueError(f"{self.last_checkpoint} is damaged: {error}") from error

    def create(self) -> None:
        """Creates the directory.

        Raises:
          ValueError: it cannot be created or written to.
        """
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"logdir={str(self.path)!r}: cannot be written to: {error}") from error
        self.check_writable()

    def saved_frames(self, config: RunConfig) -> int:
        """Environment frames of the newest checkpoint, derived from its name; 0 without one.

        Args:
          config: the run.

        Raises:
          ValueError: `last-checkpoint` is damaged.
        """
        steps = [0]
        if self.checkpoints.is_dir():
            steps += checkpoint_steps(self.checkpoints)
        elif (told := self.read_last_checkpoint()) is not None:  # they are on another disk
            steps.append(told)
        return max(steps) * config.agent.frames_per_update

    def check_writable(self) -> None:
        """Rejects a directory that cannot be written to.

        Raises:
          ValueError: it cannot be written to, for lack of permission or space.
        """
        try:
            write_probe(self.path)
        except OSError as error:
            raise ValueError(
                f"logdir={str(self.path)!r}: cannot be written to: {error.strerror}"
            ) from error

    def lock(self) -> int:
        """Claims the directory for this process and those that inherit the returned descriptor.

        The claim ends with the last of these processes, however they end. Removes the note of how
        the previous program failed.

        Raises:
          ValueError: another run has claimed the directory.
        """
        self._lock_file = open(self._lock_path, "w")  # noqa: SIM115 - open as long as the run
        deadline = time.monotonic() + _PROBE
        while not _try_lock(self._lock_file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise ValueError(
                    f"logdir={str(self.path)!r}: another run is using it; wait for it to end, or "
                    "give another --logdir"
                )
            time.sleep(0.01)
        self.failed.unlink(missing_ok=True)
        return self._lock_file.fileno()

    def unlock(self) -> None:
        """Releases this process's claim, if it has one."""
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def is_locked(self) -> bool:
        """Whether a program, on this host or one that shares its files, has claimed the directory.

        Writes nothing, and holds the lock only for the moment of the test.

        Raises:
          OSError: the lock cannot be tested.
        """
        try:
            with self._lock_path.open() as file:
                return not _try_lock(file, fcntl.LOCK_SH)
        except FileNotFoundError:
            return False

    def note_failure(self, cause: str) -> None:
        """Writes down why the program ended; if the disk refuses, prints that and continues.

        Args:
          cause: the cause; lists of runs show its first line.
        """
        try:
            self.failed.write_text(f"{cause}\n", encoding="utf-8", errors="replace")
        except OSError as error:
            print(f"{self.failed} cannot be written: {error}", file=sys.stderr, flush=True)

    def write_launch(self, program: str, flags: Sequence[str]) -> None:
        """Records how the run is started, for `resume_command`.

        Args:
          program: name of a program in `launch_programs` that takes --logdir.
          flags: flags that the program was given besides the run's settings.
        """
        write_json(self.launch, [program, *flags])

    def resume_command(self) -> str:
        """The command that resumes the run from the current directory.

        Raises:
          ValueError: the record of how it was started cannot be read.
        """
        try:
            program, *flags = json.loads(self.launch.read_text())
        except FileNotFoundError:
            program, flags = "train", []
        except ValueError as error:
            raise ValueError(f"{self.launch} cannot be read: {error}") from error
        return shlex.join(
            ["python", "-m", f"launch_programs.{program}", f"--logdir={self.path}", *flags]
        )


def _try_lock(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def user_path(path: str | os.PathLike[str]) -> pathlib.Path:
    """Expands `~` in a path, as shells do not in `--logdir=~/runs`."""
    try:
        return pathlib.Path(path).expanduser()
    except RuntimeError:  # no such user
        return pathlib.Path(path)


def check_output(place: pathlib.Path) -> None:
    """Rejects, before any work is done, an output directory that cannot be written to.

    Raises:
      ValueError: it cannot be written to.
    """
    try:
        write_probe(place)
    except OSError as error:
        raise ValueError(
            f"{place} cannot be written: {error.strerror}; give another place as --output"
        ) from error


def write_probe(path: pathlib.Path) -> None:
    """Writes a small file into a directory and removes it.

    Raises:
      OSError: it cannot be written, for lack of permission or space.
    """
    probe = path / f".writable-{os.getpid()}"
    try:
        probe.write_bytes(bytes(4096))
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def checkpoint_steps(checkpoints: pathlib.Path) -> list[int]:
    """Learner steps of the checkpoints in a directory, in any order."""
    return [int(entry.name) for entry in checkpoints.iterdir() if entry.name.isdecimal()]


def make_new(path: pathlib.Path) -> pathlib.Path:
    """Creates a directory that did not exist: PATH, or PATH-2, PATH-3, ... if PATH exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in itertools.chain([path.name], (f"{path.name}-{n}" for n in itertools.count(2))):
        try:
            path.with_name(name).mkdir()
        except FileExistsError:
            continue
        return path.with_name(name)
    raise AssertionError  # the names do not end


def default_path(suite: str) -> pathlib.Path:
    """runs/SUITE-YYYYMMDD-HHMMSS, local time."""
    return pathlib.Path("runs") / f"{suite}-{time.strftime('%Y%m%d-%H%M%S')}"


def write_json(path: pathlib.Path, values: Any) -> None:
    """Writes `values` to `path`; a reader sees the old file or the new one, never a partial one."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_text(json.dumps(values, indent=2) + "\n")
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)  # a full disk may have taken part of it
        raise
