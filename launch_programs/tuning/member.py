"""A population member: a run that is trained interval by interval."""

import json
import pathlib
import shutil
import signal
import statistics
import time
from collections.abc import Mapping

from environments.scores import RECENT_EPISODES, aggregate
from launch_programs.launching import launcher
from launch_programs.launching.launcher_child import LauncherChild
from launch_programs.run.history import read_history
from launch_programs.run.population import PopulationDirectory, Row
from launch_programs.run.run_directory import checkpoint_steps, write_json

# Seconds between polls of the program.
_POLL = 0.1

# Metadata of a saved state, and the checkpoint within it.
_STATE = "member.json"
_CHECKPOINT = "checkpoint"

# File in the run directory that records what the member's interval began with.
_BEGINNING = "beginning.json"


class MemberFailed(RuntimeError):
    """A member's program has failed; the message says why."""


class Member:
    """Trains a member's run with the real program, and passes its checkpoints on.

    An interrupted interval continues from the run directory's newest checkpoint, if it began with
    the same state and settings.
    """

    def __init__(self, population: PopulationDirectory, number: int):
        """Reads the population's settings.

        Args:
          population: directory of the population.
          number: the member's number, from 0.

        Raises:
          ValueError: the settings cannot be read.
        """
        self._config = population.read_config()
        self._number = number
        self._directory = population.member(number)
        self._program: LauncherChild | None = None

    def begin(self, state: pathlib.Path | None, tuned: Mapping[str, float]) -> None:
        """Prepares for an interval.

        Args:
          state: a directory that `save` wrote, this member's or another's; None for the first
            interval.
          tuned: values of the tuned settings.

        Raises:
          ValueError: another program is using the run directory.
          OSError: a file cannot be read or written.
        """
        beginning = {"interval": 0, "parent": -1, "tuned": dict(tuned)}
        if state is not None:
            beginning |= json.loads((state / _STATE).read_text())
        self._directory.create()
        self._directory.lock()
        path = self._directory.path / _BEGINNING
        if not (path.exists() and json.loads(path.read_text()) == beginning):
            # Removed first: if this process is killed before it is rewritten, nothing has begun.
            path.unlink(missing_ok=True)
            self._directory.last_checkpoint.unlink(missing_ok=True)
            if self._directory.checkpoints.exists():
                shutil.rmtree(self._directory.checkpoints)
            if state is not None:
                shutil.copytree(state / _CHECKPOINT, self._directory.checkpoints)
                [step] = checkpoint_steps(self._directory.checkpoints)
                write_json(self._directory.last_checkpoint, step)
            write_json(path, beginning)
        self._directory.unlock()

    def train(self) -> Row:
        """Trains for the interval that `begin` has prepared.

        Returns:
          The member's row at the end of the interval.

        Raises:
          MemberFailed: the program failed or was stopped, or no episode has ended.
          ValueError: a table is damaged.
          OSError: a file cannot be read or written.
        """
        beginning = json.loads((self._directory.path / _BEGINNING).read_text())
        interval, tuned = beginning["interval"], beginning["tuned"]
        run = self._config.member_run(self._number, tuned, interval)
        lock = self._directory.lock()
        self._directory.write_config(run)
        self._run_program(lock)
        self._directory.unlock()
        return Row(
            time=round(time.time(), 3),
            interval=interval,
            member=self._number,
            parent=beginning["parent"],
            frames=self._directory.saved_frames(run),
            score=self.score(interval),
            tuned=tuned,
        )

    def _run_program(self, lock: int) -> None:
        self._program = program = LauncherChild(self._directory, ["--launch_type=local_mp"], lock)
        while (code := program.poll()) is None:
            time.sleep(_POLL)
        self._program = None
        if code == launcher.STOPPED:
            raise MemberFailed(f"member {self._number} was stopped")
        if code != 0:
            cause = program.failures()
            self._directory.note_failure(cause)
            raise MemberFailed(f"member {self._number}: {cause}")

    def stop(self) -> None:
        """Stops the program, if running, after a last checkpoint; returns once it has ended."""
        if (program := self._program) is not None:
            program.stop(signal.SIGTERM, None)
            while program.poll() is None:
                time.sleep(_POLL)

    def score(self, interval: int) -> float:
        """The score at the end of an interval, by which members are compared.

        With several tasks, it is the mean over tasks of the normalised return in percent, capped at
        100 for each task, as in the IMPALA paper (arXiv 1802.01561). With a single task, it is the
        normalised return without the cap, or the return itself if the task has no scores to
        normalise by. Returns are taken from the last 100 training episodes that ended in the
        interval.

        Raises:
          MemberFailed: no episode of some task ended in the interval.
          ValueError: a table is damaged.
        """
        history = read_history(self._directory.path)
        begin = interval * self._config.interval
        run, tasks = history.config, history.config.task_list()
        means = []
        for number in run.learned_tasks:
            episodes = history.actors[run.tasks[number]]
            returns = episodes.returns[episodes.frames > begin][-RECENT_EPISODES:]
            if not len(returns):
                raise MemberFailed(
                    f"member {self._number}: no episode of {run.tasks[number]} has ended in "
                    f"{self._config.interval:,} frames; give a longer --perturbation_interval"
                )
            means.append((tasks[number], statistics.fmean(returns)))
        normalised = [self._config.normalised(task, mean) for task, mean in means]
        if len(means) == 1:
            [alone] = normalised
            return means[0][1] if alone is None else alone
        over_tasks = aggregate(normalised)
        assert over_tasks is not None  # checked when the population was made
        return over_tasks.capped_mean

    def save(self, path: pathlib.Path, interval: int) -> None:
        """Saves the newest checkpoint, from which this member or another can `begin`.

        Args:
          path: an empty directory.
          interval: the interval that was trained last.

        Raises:
          OSError: the checkpoint cannot be read or written.
        """
        step = max(checkpoint_steps(self._directory.checkpoints))
        shutil.copytree(self._directory.checkpoints / str(step), path / _CHECKPOINT / str(step))
        write_json(path / _STATE, {"interval": interval + 1, "parent": self._number})
