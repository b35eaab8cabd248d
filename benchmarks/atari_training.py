"""Trains or resumes one run of `benchmarks.atari`, in a program of its own."""

import enum
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks.atari_curves import Record, read_record
from benchmarks.atari_runs import CONFIGURATIONS, Run
from benchmarks.peers import environment as peers
from benchmarks.peers.records import STOPPED

_ROOT = pathlib.Path(__file__).parents[1]

# Seconds between checks on a program.
_POLL = 1.0
# Seconds between checks of its tables.
_LOOK = 5.0
# Seconds after which a program without a new row of metrics counts as hung and is ended. Reverb and
# JAX take minutes to start on a busy machine.
_STALLED = 900.0
# Seconds that a program gets to save and stop.
_STOP = 90.0


class Outcome(enum.Enum):
    """How a call ended."""

    FINISHED = "finished"  # all of the run is done
    INTERRUPTED = "interrupted"  # asked to stop; the next call continues
    FAILED = "failed"  # the program ended by itself before its time; the next call continues


class Training:
    """A run's directory, and the training in it.

    run/        the run directory of `launch_programs.train`, or a peer's
    starts      the time of each start, one per line, in seconds since 1970
    output.log  what the programs have printed
    """

    def __init__(self, run: Run, directory: pathlib.Path):
        """Touches nothing.

        Args:
          run: the run to train.
          directory: the parent of all runs' directories.
        """
        self.run = run
        self.path = (directory / run.name).absolute()
        self.logdir = self.path / "run"
        self._starts = self.path / "starts"
        self._output = self.path / "output.log"

    def record(self) -> Record:
        """The run's record so far."""
        return read_record(self.run, self.logdir, self.starts())

    def starts(self) -> list[float]:
        """When it was started, seconds since 1970."""
        return list(map(float, self._starts.read_text().split())) if self._starts.exists() else []

    def last_output(self) -> str:
        """The last lines that its programs printed."""
        return "\n".join(self._output.read_text(errors="replace").splitlines()[-20:])

    def command(self) -> list[str]:
        """The command that starts or resumes it.

        Raises:
          tools.bootstrap.SetupError: a peer's environment cannot be made.
        """
        run, configuration = self.run, CONFIGURATIONS[self.run.configuration]
        flags = [f"--logdir={self.logdir}", f"--level_name={run.level_name}", f"--seed={run.seed}"]
        if configuration.program == "train":
            length = [f"--total_environment_frames={run.frames}"] if run.frames else []
            # The table's rows are the clock for minutes; the evaluation would add nothing.
            flags += [*length, "--log_interval=2", "--test_num_episodes=0"]
            start = [sys.executable, "-m", "launch_programs.train"]
        else:
            flags += [f"--frames={run.frames}"] if run.frames else []
            start = [str(peers.make(configuration.program))]
            start += ["-m", f"benchmarks.peers.{configuration.program}"]
        return [*start, *flags, *configuration.flags]

    def go_on(self, stop: Callable[[], bool], lock: int) -> Outcome:
        """Trains until the run is finished, or `stop` says so.

        Args:
          stop: whether to stop, called once a second.
          lock: descriptor that the program keeps open as long as it lives.

        Raises:
          tools.bootstrap.SetupError: a peer's environment cannot be made.
        """
        if self._enough():
            return Outcome.FINISHED
        command = self.command()
        if self.logdir.exists() and CONFIGURATIONS[self.run.configuration].program == "train":
            if not (self.logdir / "config.json").exists():  # killed before there was a run
                shutil.rmtree(self.logdir)
        self.path.mkdir(parents=True, exist_ok=True)
        with self._starts.open("a") as starts:
            starts.write(f"{time.time()}\n")
        with self._output.open("a") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.until_parent_ends", str(os.getpid()), *command],
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches this process only, which stops the program
                pass_fds=[lock],
            )
        try:
            return self._watch(process, stop)
        finally:
            _end(process)

    def _watch(self, process: subprocess.Popen[bytes], stop: Callable[[], bool]) -> Outcome:
        looked = progressed = time.monotonic()
        rows = 0
        while (code := process.poll()) is None:
            time.sleep(_POLL)
            if stop():
                _end(process)
                return Outcome.FINISHED if self._enough() else Outcome.INTERRUPTED
            if time.monotonic() < looked + _LOOK:
                continue
            looked = time.monotonic()
            record = self.record()
            if record.rows != rows:
                rows, progressed = record.rows, looked
            if record.is_enough():
                _end(process)
                return Outcome.FINISHED
            if looked > progressed + _STALLED:
                with self._output.open("a") as output:
                    output.write(f"no new row of metrics for {_STALLED:.0f} s: ended\n")
                return Outcome.FAILED
        if code == 0:
            return Outcome.FINISHED
        if code == STOPPED:  # by a signal from outside
            return Outcome.INTERRUPTED
        return Outcome.FAILED

    def _enough(self) -> bool:
        return self.logdir.exists() and self.record().is_enough()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stops a program cleanly, and kills what is left of it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
