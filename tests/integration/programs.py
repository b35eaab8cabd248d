"""Runs command-line programs as a user starts them, and finds what is left of them."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator

import psutil

from launch_programs.run.checkpointing import Checkpointer
from launch_programs.run.metrics import read_rows

ROOT = pathlib.Path(__file__).parents[2]
FRAMES_PER_UPDATE = 32 * 20  # of the toy suite

# The longest that a test waits for a program to stop, as promised to users.
STOP_SECONDS = 15

# Every process that a program starts inherits this variable, even one that loses its parent.
_MARK = "POPART_IMPALA_TEST_PROGRAM"


class TrainingProgram:
    """`python -m launch_programs.train` and every process that it starts."""

    def __init__(self, logdir: pathlib.Path, *flags: str):
        self.logdir = logdir
        self._mark = uuid.uuid4().hex
        self._output = logdir.with_name(f"{logdir.name}-{self._mark[:6]}.out")
        with self._output.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "launch_programs.train", f"--logdir={logdir}", *flags],
                cwd=ROOT,
                env={**os.environ, _MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._output.read_text()

    def processes(self) -> list[psutil.Process]:
        """Its live processes, wherever they are in the tree."""
        alive = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.environ().get(_MARK) == self._mark:
                    alive.append(process)
        return alive

    def node(self, name: str) -> psutil.Process | None:
        """The process of a node such as "actor/1", or None while there is none."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name() == name:
                    return process
        return None

    def rows(self, table: str = "learner") -> list[dict[str, str]]:
        """The rows of a metrics table so far."""
        return read_rows(self.logdir / f"{table}.csv")

    def wait_for_rows(self, more: int, timeout: float = 180) -> None:
        """Waits until the learner has written `more` further rows of metrics."""
        number = len(self.rows()) + more
        self.wait_until(lambda: len(self.rows()) >= number, timeout)

    def wait(self, timeout: float = 240) -> int:
        """Waits until it ends; returns the exit code."""
        return self.process.wait(timeout)

    def wait_until(self, condition: Callable[[], bool], timeout: float = 180) -> None:
        """Waits until `condition` holds; fails with the output if the program ends first."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.1)

    def kill(self) -> None:
        """Kills whatever is left."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def training(logdir: pathlib.Path, *flags: str) -> Iterator[TrainingProgram]:
    """Starts a training program; no process of it is left after the block."""
    program = TrainingProgram(logdir, *flags)
    try:
        yield program
    finally:
        program.kill()


def train(logdir: pathlib.Path, *flags: str, timeout: float = 240) -> str:
    """Trains to the end; returns what was printed."""
    with training(logdir, *flags) as program:
        code = program.wait(timeout)
        assert code == 0, program.output
        assert program.processes() == []
        return program.output


def run(
    program: str, *flags: str, path: pathlib.Path | None = None, cwd: pathlib.Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m launch_programs.PROGRAM` to its end, with `path` first in PYTHONPATH."""
    return subprocess.run(
        [sys.executable, "-m", f"launch_programs.{program}", *flags],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": f"{path}:{ROOT}"} if path else None,
        capture_output=True,
        text=True,
        timeout=240,
    )


def saved_frames(logdir: pathlib.Path) -> int:
    """Frames of a toy run's newest checkpoint."""
    policy = Checkpointer(logdir / "checkpoints", read_only=True).restore_policy()
    assert policy is not None
    assert policy.frames == policy.steps * FRAMES_PER_UPDATE
    return policy.frames
