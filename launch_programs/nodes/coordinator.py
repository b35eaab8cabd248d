"""The coordinator: keeps counts, metrics and progress for the whole program, and ends it."""

import functools
import math
import sys
import threading
import time
from typing import Any

import launchpad as lp
from absl import logging
from acme.utils import counting
from launchpad import context

from launch_programs.nodes.ending import FINISHED, LINGER, GivenUp
from launch_programs.nodes.tensorboard import EventWriter
from launch_programs.run.appending import PatientWriter, append
from launch_programs.run.failure_log import FailureLog
from launch_programs.run.metrics import CSVTable, Row
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory, write_json
from launch_programs.run.scalars import ScalarStream
from launch_programs.run.training_status import StatusFollower, TrainingStatus, duration

# With more tasks than this, progress lines show their median instead of each task.
_LISTED_TASKS = 6

# Nodes whose launcher does not tell them that the program has ended (run_node.py) poll the
# coordinator: seconds between polls, and how long the coordinator keeps answering at the end.
ENDED_POLL = 1.0
_ENDED_ANSWERS = 3 * ENDED_POLL


class Coordinator:
    """A Courier node; public methods are remote calls, possibly from several threads at once."""

    def __init__(self, config: RunConfig, path: str):
        """Opens the run's tables.

        Args:
          config: the run.
          path: path of the run directory.
        """
        logging.set_verbosity(logging.WARNING)  # a node's output is for problems
        self._stop = lp.stop_event()
        self._config = config
        self._directory = directory = RunDirectory(path)
        self._progress = directory.progress
        self._failures = FailureLog(directory)
        self._write = PatientWriter(lambda text: self._failures.add("coordinator/0", text))
        self._tables = {name: CSVTable(path) for name, path in directory.tables.items()}
        self._scalars = ScalarStream(config)
        self._events: EventWriter | None = None  # opened once it is known where the run continues
        self._first_frame = 0
        self._counter = counting.Counter()
        self._lock = threading.Lock()  # guards tables, events, and the status
        self._status = TrainingStatus(config, since=time.time())
        StatusFollower(directory, self._status).update()  # earlier starts' rows; `record` adds more
        self._last_line = ""
        self._untold_checkpoint: int | None = None  # a step not yet written to disk
        self._learner_done = threading.Event()
        self._finished = False
        self._given_up: str | None = None  # why the program must end
        self._asked = False  # whether any node polls for the end

    def increment(self, **counts: float) -> dict[str, float]:
        """Adds to the counts, as Acme's counters do with their parent; returns all counts."""
        return self._counter.increment(**counts)

    def get_counts(self) -> dict[str, float]:
        """All counts: learner_steps, learner_frames, actor_steps, actor_episodes."""
        return self._counter.get_counts()

    def restore_counts(self, counts: dict[str, float]) -> None:
        """Restores a checkpoint's counts; called before any row is recorded."""
        self._first_frame = int(counts.get("learner_frames", 0))  # none in a grown run
        self._counter.restore({"counts": dict(counts), "cache": {}})

    def record(self, table: str, rows: list[Row]) -> None:
        """Appends rows to `table`.csv, with the time and, except for the learner, frames so far.

        Args:
          table: "learner", "actors" or "evaluator".
          rows: rows of plain values.
        """
        with self._lock:
            # Inside the lock, so that frames never decrease between rows while a program runs: a
            # decrease marks where a resumed program continued (history.py).
            frames = int(self.get_counts().get("learner_frames", 0))
            stamp: dict[str, Any] = {"time": round(time.time(), 3)}
            if table != "learner":
                stamp["frames"] = frames
            stamped = [{**stamp, **row} for row in rows]
            for row in stamped:
                if table == "learner":
                    self._status.add_learner_row(row)
                elif table == "actors":
                    self._status.add_episode(row)
            self._write(f"{table}.csv", lambda: self._tables[table].append(stamped))
            self._write_events(table, stamped)

    def _write_events(self, table: str, rows: list[Row]) -> None:
        for row in rows:
            scalars = self._scalars.add(table, row)
            if scalars is not None:
                if self._events is None:
                    self._events = EventWriter(self._directory.path, self._first_frame)
                self._write("events", functools.partial(self._events.write, scalars))

    def checkpoint_saved(self, step: int) -> None:
        """Notes that the learner has saved a checkpoint at this learner step."""
        self._untold_checkpoint = step
        self._note_checkpoint()

    def _note_checkpoint(self) -> None:
        with self._lock:
            step = self._untold_checkpoint
            path = self._directory.last_checkpoint
            if step is not None and self._write(path.name, lambda: write_json(path, step)):
                self._untold_checkpoint = None

    def last_checkpoint(self) -> int | None:
        """The step of the newest checkpoint that the learner reported, in earlier starts too."""
        return self._directory.read_last_checkpoint()

    def record_failure(self, node: str, failure: str) -> None:
        """Logs a failure that `node` recovered from; see `FailureLog.add`."""
        self._failures.add(node, failure)

    def give_up(self, node: str, cause: str) -> None:
        """Ends the program, because `node` cannot continue and a restart would not help.

        Args:
          node: such as "actor/3".
          cause: a line with the cause, then anything else that may help to understand it.
        """
        if self._given_up is None:
            print(cause, flush=True)
            summary = cause.splitlines()[0]
            self._failures.add(node, f"{summary}; the program ends")
            self._given_up = f"{node}: {summary}"

    def has_ended(self) -> bool:
        """Whether the program is ending; polled by nodes that nobody else tells to stop."""
        self._asked = True
        return self._finished or self._given_up is not None or self._stop.is_set()

    def learner_done(self, finished: bool) -> None:
        """Called by the learner once it has saved its last checkpoint.

        Args:
          finished: whether all frames are consumed, which ends the program; otherwise it is already
            stopping.
        """
        self._finished = finished
        self._learner_done.set()

    def run(self) -> None:
        """Writes a progress line at every interval, until the program ends.

        The coordinator's exit tells a launcher that the program has ended: with exit code
        `FINISHED`, or with `GIVEN_UP` and the cause as its last line of output.
        """
        next_line = time.monotonic() + self._config.log_interval
        while not self._stop.wait(0.2):
            if self._given_up is not None or (self._learner_done.is_set() and self._finished):
                break
            if time.monotonic() >= next_line:
                self._note_checkpoint()
                self._failures.flush()
                self._write_progress()
                next_line += self._config.log_interval
        if self._finished:
            self._write_progress()
        # The learner asks for the counts when it saves, so the coordinator must still be there.
        end = time.monotonic()
        self._learner_done.wait(LINGER)
        self._note_checkpoint()
        self._failures.flush()
        if self._asked:
            time.sleep(max(0.0, end + _ENDED_ANSWERS - time.monotonic()))
        if self._given_up is not None:
            self._directory.note_failure(self._given_up)
            print(self._given_up, flush=True)
            raise GivenUp(self._given_up)
        if self._finished and not _end_launchpads_own_program():
            sys.exit(FINISHED)

    def _write_progress(self) -> None:
        with self._lock:
            self._status.frames = int(self.get_counts().get("learner_frames", 0))
            line = progress_line(self._status)
            if line == self._last_line:  # nothing new yet
                return
            self._last_line = line
            data = f"{line}\n".encode()
            self._write(self._progress.name, lambda: append(self._progress, data))


def _end_launchpads_own_program() -> bool:
    """Tells Launchpad's own launcher, if it started this, that the program has ended.

    A Vertex AI job ends only when told to; our launchers see the coordinator exit.
    """
    launch_context = context.get_context()
    if not launch_context._is_initialized:  # by `lp.launch`; there is no public way to ask
        return False
    launch_context.program_stopper()
    return True


def progress_line(status: TrainingStatus) -> str:
    """One line with training progress and recent returns."""
    parts = [f"{status.share:.1%}", f"{status.frames:,} frames"]
    if status.frames_per_second is not None:
        parts.append(f"{status.frames_per_second:,.0f}/s")
        if status.seconds_left is not None:
            parts.append(f"{duration(status.seconds_left)} left")
    elif status.frames == 0:
        parts.append("waiting for the first batch")
    played = status.played
    if len(status.tasks) <= _LISTED_TASKS:
        parts += [f"{task.task.name} {task.mean_return:,.1f}" for task in played]
    elif played:
        over = f"{len(played)} of {len(status.tasks)} tasks"
        if (scores := status.normalised) is not None:
            parts.append(f"{status.reference}-normalised median {scores.median:.1f} % over {over}")
        else:
            parts.append(f"episodes of {over}")
    if status.losses is not None and status.frames_per_second is not None:
        if math.isfinite(fill := status.losses["queue_fill"]):  # else no queue answered
            parts.append(f"queue {fill:.0%}")
    return "  ".join(parts)
