"""What whole programs show a user on a terminal."""

import contextlib
import fcntl
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from launch_programs.run.metrics import read_rows
from tests.integration.misbehaving import misbehave
from tests.integration.programs import ROOT, saved_frames

TOY = ("--level_name=toy", "--num_actors=2", "--log_interval=0.5", "--evaluation_interval=0")

SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"

# Actors warn in several ways.
WARNINGS = """
if steps == 100:
    print("INFO: all is well")
    warnings.warn("the emulator is old")
    threading.Thread(target=fail).start()
if steps % 1000 == 0:
    logging.warning("slow for the %dth time", steps)
if steps == 3000 and node == "actor/1" and not os.path.exists(DIED):
    open(DIED, "w").close()
    try:
        raise RuntimeError("it is broken")
    except RuntimeError:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
"""


class Terminal:
    """A terminal in which a program runs."""

    def __init__(self, *command: str, columns: int = 80, lines: int = 24):
        self._ours, theirs = pty.openpty()
        self.resize(columns, lines)
        environment = {**os.environ, "TERM": "xterm"}
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        self.output = ""

    def resize(self, columns: int, lines: int) -> None:
        """Changes its size; the program gets SIGWINCH."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, text: str) -> None:
        """Presses keys; "\x03" is Ctrl-C."""
        os.write(self._ours, text.encode())

    def read_until(self, condition: Callable[[], bool], timeout: float = 180) -> None:
        """Reads until `condition` holds; fails with the output on timeout or at the end."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, self.output
            assert self._read(), self.output

    def read_to_end(self) -> int:
        """Reads until the program has ended; returns its exit code."""
        while self._read():
            pass
        return self.process.wait(10)

    def _read(self) -> bool:
        if not select.select([self._ours], [], [], 1.0)[0]:
            return True
        try:
            data = os.read(self._ours, 2**16)
        except OSError:  # raised by Linux when the other side is closed
            return False
        self.output += data.decode(errors="replace")
        return bool(data)

    def close(self) -> None:
        """Ends the program, if it still runs, and everything that it has started."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
            self.process.kill()
            self.process.wait()
        os.close(self._ours)


@contextlib.contextmanager
def terminal(logdir: pathlib.Path, *flags: str, columns: int = 80) -> Iterator[Terminal]:
    """A training program in a terminal."""
    command = [sys.executable, "-m", "launch_programs.train", f"--logdir={logdir}", *flags]
    opened = Terminal(*command, columns=columns)
    try:
        yield opened
    finally:
        opened.close()


def plain(text: str) -> str:
    """Removes the sequences that move the cursor or set colours."""
    return re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]", "", text)


def assert_restored(output: str) -> None:
    """Checks that the terminal is as it was."""
    assert HIDE_CURSOR in output
    assert output.rfind(SHOW_CURSOR) > output.rfind(HIDE_CURSOR)
    assert "\x1b[?1049h" not in output  # nor was there a second screen


def widths(text: str) -> list[int]:
    return [len(line) for line in plain(text).splitlines()]


@pytest.mark.slow
def test_a_display_on_a_terminal_and_a_stop(tmp_path: pathlib.Path) -> None:
    logdir = tmp_path / "run"
    with terminal(logdir, *TOY) as screen:
        screen.read_until(lambda: "waiting for the first batch" in screen.output)
        screen.read_until(lambda: "queue" in screen.output and "left" in screen.output)
        screen.read_until(lambda: "optimum-normalised over 3 of 3 tasks" in plain(screen.output))
        text = plain(screen.output)
        assert "losses   total " in text
        assert "nodes    restarts 0   failures 0" in text
        assert re.search(r"catch_x10000 +-?10,000 +-?[\d,]+(\.\d)? +-?\d+\.\d", text)

        seen = len(screen.output)
        screen.resize(40, 12)
        screen.read_until(lambda: screen.output.count("frames   ", seen) >= 3)
        drawn = screen.output[screen.output.index("frames   ", seen) :]
        assert max(widths(drawn)) <= 40

        screen.type("\x03")
        assert screen.read_to_end() == 130
        words = " ".join(plain(screen.output).split())  # wrapped at 40 columns
        assert "saving a checkpoint and stopping. Once more to kill." in words
        assert "Interrupted. To resume: " in screen.output
        assert_restored(screen.output)
    assert os.listdir(logdir / "checkpoints") != []

    with terminal(logdir) as screen:  # shows frames and returns before new rows arrive
        screen.read_until(lambda: "nodes " in screen.output)
        first = plain(screen.output)
        assert "waiting for the first batch" not in first
        assert "optimum-normalised over 3 of 3 tasks" in first
        screen.process.send_signal(signal.SIGTERM)
        assert screen.read_to_end() == 130
        assert_restored(screen.output)


@pytest.mark.slow
def test_a_second_ctrl_c_ends_everything_at_once_and_restores_the_terminal(
    tmp_path: pathlib.Path,
) -> None:
    logdir = tmp_path / "run"
    with terminal(logdir, *TOY, "--checkpoint_interval=1") as screen:
        screen.read_until(lambda: "losses" in screen.output)
        screen.read_until(lambda: len(read_rows(logdir / "learner.csv")) >= 6)
        seen = int(read_rows(logdir / "learner.csv")[1]["frames"])
        nodes = psutil.Process(screen.process.pid).children(recursive=True)
        (learner,) = [process for process in nodes if process.name() == "learner/0"]
        learner.send_signal(signal.SIGSTOP)  # it cannot end by itself
        screen.type("\x03")
        screen.read_until(lambda: "Once more to kill." in screen.output)
        screen.type("\x03")
        assert screen.process.wait(3) == 130  # one Ctrl-C would wait for the learner
        assert screen.read_to_end() == 130
        left = [process for process in nodes if process.is_running()]
        assert [process for process in left if process.status() != psutil.STATUS_ZOMBIE] == []
        assert_restored(screen.output)
    assert saved_frames(logdir) >= seen  # the earlier checkpoint is intact


@pytest.mark.slow
def test_what_nodes_warn_of_is_on_the_screen(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misbehave(tmp_path, monkeypatch, WARNINGS)
    logdir = tmp_path / "run"
    flags = (*TOY, "--total_environment_frames=120000", "--test_num_episodes=1")
    with terminal(logdir, *flags, columns=160) as screen:
        assert screen.read_to_end() == 0
        assert_restored(screen.output)
        output = plain(screen.output).replace("\r\n", "\n")

    lines = output.splitlines()
    messages = [line for line in lines if re.match(r"!|[a-z]+/\d+: |launcher: ", line)]
    news = [line for line in messages if "times)" not in line]
    node = r"actor/[01]: "
    expected = [
        node + r"UserWarning: the emulator is old \(.*sitecustomize.py:\d+\)",
        node + r"LookupError: in a thread",
        node + r"warning: slow for the \d+th time \(absl\)",
        r"! actor/1: ended with exit code 1, RuntimeError: it is broken; started again \(1 of .*",
    ]
    for pattern in expected:
        matching = [line for line in news if re.fullmatch(pattern, line)]
        assert len(matching) == 1 or ("!" in pattern and matching), (pattern, output)
    # Nothing else: no noise, and nothing that the failure already said.
    assert [line for line in news if not any(re.fullmatch(p, line) for p in expected)] == []
    again = [line for line in messages if "slow for" in line and "times)" in line]
    assert 1 <= len(again) <= 4

    assert [line for line in lines if re.match(r"\d+\.\d%  ", line)] == []
    assert "restarts 1" in output
