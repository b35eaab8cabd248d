"""A member of a population: a run that is trained interval by interval."""

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

# Seconds between looks at the program.
_POLL = 0.1

# What a saved state says of itself, and where its checkpoint is in it.
_STATE = "member.json"
_CHECKPOINT = "checkpoint"

# What a member's interval began with, in its run directory.
_BEGINNING = "beginning.json"


class MemberFailed(RuntimeError):
    """A member's program has failed; says why."""


class Member:
    """Trains a member's run with the real program, and hands its checkpoints on.

    An interval that was interrupted continues where the run directory's newest checkpoint is, if it
    began with the same state and settings.
    """

    def __init__(self, population: PopulationDirectory, number: int):
        """Reads the population's settings.

        Args:
          population: that it belongs to.
          number: of the member, from 0.

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
          ValueError: another program uses the run directory.
          OSError: a file cannot be read or written.
        """
        beginning = {"interval": 0, "parent": -1, "tuned": dict(tuned)}
        if state is not None:
            beginning |= json.loads((state / _STATE).read_text())
        self._directory.create()
        self._directory.lock()
        path = self._directory.path / _BEGINNING
        if not (path.exists() and json.loads(path.read_text()) == beginning):
            # First of all: without it, a process that is killed meanwhile has begun nothing.
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
          What it has become.

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
        """Stops the program, if it runs, with a last checkpoint; returns when it has ended."""
        if (program := self._program) is not None:
            program.stop(signal.SIGTERM, None)
            while program.poll() is None:
                time.sleep(_POLL)

    def score(self, interval: int) -> float:
        """How well it plays at the end of an interval: what members are compared by.

        That is the mean over tasks of the normalised return, in percent and at most 100 of each
        task, as in IMPALA's paper (arXiv 1802.01561); of a single task the normalised return
        without that bound, or the return itself where the task has no scores to normalise by.
        Returns are those of the last 100 training episodes that ended in the interval.

        Raises:
          MemberFailed: of a task, no episode ended in the interval.
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
        """Saves the newest checkpoint for `begin`, of this member or another.

        Args:
          path: an empty directory.
          interval: that was trained last.

        Raises:
          OSError: it cannot be read or written.
        """
        step = max(checkpoint_steps(self._directory.checkpoints))
        shutil.copytree(self._directory.checkpoints / str(step), path / _CHECKPOINT / str(step))
        write_json(path / _STATE, {"interval": interval + 1, "parent": self._number})
