"""A run's directory: what lies where, who may write to it."""

import fcntl
import json
import os
import pathlib
import time
from typing import IO, Any

from launch_programs.run_config import RunConfig, from_json


class RunDirectory:
    """Paths of a run and its configuration file.

    config.json        the resolved configuration
    provenance.json    code, packages and machine of each start of the learner
    cluster.json       where its nodes listen, if they are started by hand (cluster.py)
    checkpoints/       the newest checkpoints, named by learner step; damaged ones as broken-STEP
    learner.csv        a row of the learner's metrics per log interval
    actors.csv         a row per training episode
    evaluator.csv      a row per episode of the evaluator
    events.out.*       the same for TensorBoard
    wandb/             what was sent to Weights & Biases, and the run's id there
    evaluation-*.json  what `launch_programs.evaluate` found, with the same as .csv
    videos/            episodes that it filmed, as evaluation-*.json names them
    report.html        all of it as one page, by `launch_programs.report`
    plots/             figures of the run's tables, by `launch_programs.plot`
    *.policy.npz       what `launch_programs.export` wrote, unless it was told where to
    last-checkpoint    step of the newest checkpoint, as the learner told the coordinator
    failures.csv       a row per failure that the run got over, with what became of it
    progress.log       the lines that training prints
    logs/              what each node printed
    """

    def __init__(self, path: str | os.PathLike[str]):
        """Names the paths; touches nothing."""
        self.path = pathlib.Path(path)
        self.config = self.path / "config.json"
        self.provenance = self.path / "provenance.json"
        self.cluster = self.path / "cluster.json"
        self.checkpoints = self.path / "checkpoints"
        self.failures = self.path / "failures.csv"
        self.last_checkpoint = self.path / "last-checkpoint"
        self.videos = self.path / "videos"
        self.progress = self.path / "progress.log"
        self.report = self.path / "report.html"
        self.plots = self.path / "plots"
        self.logs = self.path / "logs"
        self.launcher_log = self.logs / "launcher"
        self._lock_file: IO[str] | None = None

    def read_config(self) -> RunConfig:
        """The run's configuration.

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

    def create(self) -> None:
        """Makes the directory.

        Raises:
          ValueError: it cannot be made or written to, or holds something that is not a run.
        """
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            probe = self.path / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise ValueError(f"logdir={str(self.path)!r}: cannot be written to: {error}") from error

    def lock(self) -> int:
        """Claims the directory for this process and those that inherit the returned descriptor.

        The claim ends with the last of them, however they end.

        Raises:
          ValueError: another run has it.
        """
        self._lock_file = open(self.path / ".lock", "w")  # noqa: SIM115 - open as long as the run
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"logdir={str(self.path)!r}: another run is using it; wait for it to end, or give "
                "another --logdir"
            ) from None
        return self._lock_file.fileno()


def default_path(suite: str) -> pathlib.Path:
    """runs/SUITE-YYYYMMDD-HHMMSS, local time."""
    return pathlib.Path("runs") / f"{suite}-{time.strftime('%Y%m%d-%H%M%S')}"


def write_json(path: pathlib.Path, values: Any) -> None:
    """Writes `values` to `path`; a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(values, indent=2) + "\n")
    os.replace(temporary, path)
