"""The flags and tables of a peer's program; needs only the standard library.

A peer's environment has none of this project's packages. Its tables are those of a run directory
(docs/guides/metrics.md), with fewer columns:

    learner.csv  time, frames, policy_lag_mean     a row every `ROW_SECONDS`, the first at the start
    actors.csv   time, frames, task, episode_return, episode_length     a row per whole game
"""

import argparse
import csv
import os
import pathlib
import signal
import time
from types import FrameType

# Environment frames per agent step: the action repeat.
FRAMES_PER_STEP = 4

# Without --frames, schedules end after this many environment frames: rl-baselines3-zoo's 10 million
# agent steps.
DEFAULT_FRAMES = 40_000_000

# Seconds between checkpoints, the default of this project's programs.
CHECKPOINT_SECONDS = 60.0

ROW_SECONDS = 2.0

# Exit code of a program that was stopped by a signal.
STOPPED = 130

_COLUMNS = {
    "learner": ("time", "frames", "policy_lag_mean"),
    "actors": ("time", "frames", "task", "episode_return", "episode_length"),
}


def parse_flags(description: str | None) -> argparse.Namespace:
    """Parses the command line: `logdir`, `level_name`, `seed` and `frames`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--logdir", type=pathlib.Path, required=True, help="run directory")
    parser.add_argument("--level_name", required=True, help="game, named as its ROM file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--frames", type=int, default=DEFAULT_FRAMES, help="environment frames")
    return parser.parse_args()


def gym_name(game: str) -> str:
    """A game's name in Gym: MsPacman for ms_pacman."""
    return "".join(part.capitalize() for part in game.split("_"))


class Records:
    """Writes the tables, each row at once."""

    def __init__(self, logdir: pathlib.Path, game: str):
        """Continues the tables in `logdir`, which is created if missing."""
        logdir.mkdir(parents=True, exist_ok=True)
        self._paths = {name: logdir / f"{name}.csv" for name in _COLUMNS}
        self._game = game
        self._next_row = 0.0
        for name, path in self._paths.items():
            if path.exists():
                with path.open("rb+") as file:  # a killed writer may have left part of a row
                    file.truncate(file.read().rfind(b"\n") + 1)
            if not path.exists() or not path.stat().st_size:
                self._append(name, _COLUMNS[name])

    def progress(self, frames: int, policy_lag: float) -> None:
        """Records training progress, if a row is due.

        Args:
          frames: environment frames since the run began.
          policy_lag: mean, in updates.
        """
        if time.monotonic() >= self._next_row:
            self._append("learner", (time.time(), frames, policy_lag))
            self._next_row = time.monotonic() + ROW_SECONDS

    def game(self, frames: int, episode_return: float, length: int) -> None:
        """Records a finished game.

        Args:
          frames: environment frames since the run began.
          episode_return: sum of the game's unclipped rewards, over all lives.
          length: the game's length in agent steps.
        """
        self._append("actors", (time.time(), frames, self._game, episode_return, length))

    def _append(self, name: str, row: tuple[object, ...]) -> None:
        with self._paths[name].open("a", newline="") as file:
            csv.writer(file).writerow(row)


class Stop:
    """Whether SIGTERM or SIGINT has arrived; made once, in the main thread."""

    def __init__(self) -> None:
        """Handles both signals from now on."""
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.asked = True


def replace(temporary: pathlib.Path, path: pathlib.Path) -> None:
    """Syncs a file to disk, then replaces another with it."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
