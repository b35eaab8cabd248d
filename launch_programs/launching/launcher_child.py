"""The launcher (launcher.py) as a child process of `train`."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from launch_programs.launching.output_log import OutputLog
from launch_programs.nodes.ending import KILL
from launch_programs.run.run_directory import RunDirectory

# Lines of the launcher's output that are shown.
_SHOWN_LINES = 20


class LauncherChild:
    """A running program, controlled through its launcher."""

    def __init__(self, directory: RunDirectory, arguments: Sequence[str], lock: int):
        """Starts the launcher.

        Args:
          directory: the run directory, with its configuration written.
          arguments: the launcher's arguments, besides the directory.
          lock: descriptor of the run directory's lock, which the launcher also holds.
        """
        self._kill_time: float | None = None
        self._signal: str | None = None
        with contextlib.suppress(OSError):
            directory.launcher_log.unlink(missing_ok=True)  # left by an earlier start
        self._log = OutputLog(directory.launcher_log)
        # In a new session, Ctrl-C reaches only this process, which stops the program cleanly.
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "launch_programs.launching.launcher",
                f"--logdir={directory.path}",
                *arguments,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[lock],
        )
        assert self._process.stdout is not None
        self._log.copy(self._process.stdout)

    def failures(self) -> str:
        """What the launcher says about the program's failure, once it has ended."""
        lines = self._log.end().splitlines()[-_SHOWN_LINES:]
        return "\n".join(lines) or f"launcher: ended with exit code {self._process.returncode}"

    @property
    def stopped_by(self) -> str | None:
        """The signal that asked for a stop, such as "SIGINT"; None if there was none."""
        return self._signal

    def stop(self, signum: int, frame: FrameType | None) -> None:
        """Signal handler: the first signal asks the program to stop, the second one kills it.

        It prints nothing, since it may interrupt other output.
        """
        del frame
        if self._signal is None:
            self._kill_time = time.monotonic() + KILL
            self._process.terminate()
            self._signal = signal.Signals(signum).name
        else:
            kill_program(self._process.pid)

    def poll(self) -> int | None:
        """The launcher's exit code once the whole program is gone; None while it runs.

        A program that does not stop in time is killed.
        """
        if self._kill_time is not None and time.monotonic() > self._kill_time:
            kill_program(self._process.pid)
        code = self._process.poll()
        if code is not None:
            # If the launcher was killed, it could not end its nodes.
            kill_program(self._process.pid)
        return code


def kill_program(pid: int) -> None:
    """Kills a program's launcher and all its nodes, including nodes that have lost their launcher.

    Args:
      pid: the launcher's, which leads the nodes' process group. It is no error if that group is
        already gone.
    """
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
