"""Compares the agent with other agents on real games: `python -m benchmarks.atari`.

Works through the list of experiments (`benchmarks.atari_runs`), runs of `launch_programs.train` and
of peers, one after another, each in a program of its own, for a number of frames or minutes. The
whole list takes days and may be stopped at any time, by a signal or a power cut: the same command
resumes the interrupted run from its last checkpoint and does not repeat finished ones.

    setsid nohup .venv/bin/python -m benchmarks.atari > atari.log 2>&1 &

Writes into --output, after each run,

    RUN.json                 a run's curve, when it has finished or was interrupted
    EXPERIMENT-frames.png    scores against frames
    EXPERIMENT-minutes.png   scores against minutes of training
    table.md, table.csv      scores with intervals over seeds, and how the runs ran

The run directories are in --runs. --report_only shows the progress so far.
"""

import dataclasses
import fcntl
import pathlib
import signal
import time
from collections.abc import Mapping
from types import FrameType
from typing import IO

from absl import flags

from benchmarks.atari_curves import result
from benchmarks.atari_report import read_result, report, result_path
from benchmarks.atari_runs import CONFIGURATIONS, EXPERIMENTS, Experiment, Run, all_runs
from benchmarks.atari_training import Outcome, Training
from environments import parse_level_name
from launch_programs.console import command_line
from launch_programs.run.provenance import code
from launch_programs.run.run_directory import write_json
from tools.bootstrap import SetupError

FLAGS = flags.FLAGS

_ROOT = pathlib.Path(__file__).parents[1]

# Seconds that the program of an earlier call, which was killed, may take to save and stop.
_PATIENCE = 120.0


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_multi_enum(
        "experiment",
        list(EXPERIMENTS),
        list(EXPERIMENTS),
        "Experiments to run, the flag once for each; by default all, in the list's order.",
    )
    flags.DEFINE_integer(
        "seeds", None, "Seeds of each configuration, instead of the list's.", lower_bound=1
    )
    flags.DEFINE_integer(
        "frames",
        None,
        "Environment frames of each run, for quick tries; by default the list's frames or minutes.",
        lower_bound=1,
    )
    flags.DEFINE_string("runs", "runs/atari", "Directory of the run directories.")
    flags.DEFINE_string("output", "benchmarks/results/atari", "Directory of the results.")
    flags.DEFINE_bool(
        "report_only", False, "Trains nothing: lists the runs, and redraws table and figures."
    )


class _Stop:
    """Whether SIGTERM or SIGINT has arrived."""

    def __init__(self) -> None:
        self.signal: int | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.signal = number

    def __call__(self) -> bool:
        return self.signal is not None


def chosen() -> dict[str, Experiment]:
    """The experiments that the flags ask for, in the list's order.

    Raises:
      ValueError: one of their level names is unknown, or a peer cannot play it.
    """
    experiments = {}
    for name, experiment in EXPERIMENTS.items():
        if name not in FLAGS.experiment:
            continue
        for level_name in experiment.level_names:
            tasks = parse_level_name(level_name)
            peers = [c for c in experiment.configurations if CONFIGURATIONS[c].program != "train"]
            if peers and (len(tasks) > 1 or tasks[0].domain != "atari"):
                raise ValueError(
                    f"experiment={name!r}: {peers[0]} plays one Atari game at a time, not "
                    f"{level_name!r}"
                )
        if FLAGS.frames is not None:
            experiment = dataclasses.replace(
                experiment, frames=FLAGS.frames, minutes=None, peer_minutes=None
            )
        if FLAGS.seeds is not None:
            experiment = dataclasses.replace(experiment, seeds=FLAGS.seeds)
        experiments[name] = experiment
    return experiments


def claim(directory: pathlib.Path, stop: _Stop) -> IO[str]:
    """Claims the run directories for this process and the program that it starts.

    Args:
      directory: the parent of the run directories; created if missing.
      stop: ends the waiting.

    Returns:
      The open lock, which the operating system frees when both have ended.

    Raises:
      ValueError: another benchmark is at work there, or it cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / ".lock").open("w")
    except OSError as error:
        raise ValueError(f"runs={str(directory)!r}: cannot be written to: {error}") from error
    deadline = time.monotonic() + _PATIENCE
    told = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if stop() or time.monotonic() > deadline:
                raise ValueError(
                    f"runs={str(directory)!r}: another benchmark is at work there; wait for it to "
                    "end, or give another --runs"
                ) from None
        if not told:
            print("Waiting for the program of an earlier call to end.", flush=True)
            told = True
        time.sleep(0.5)


def work_off(
    runs: list[Run], experiments: Mapping[str, Experiment], stop: _Stop, lock: IO[str]
) -> list[str]:
    """Trains all runs that are not finished.

    Args:
      runs: the runs, in order.
      experiments: the experiments to report on after each run.
      stop: whether to stop.
      lock: the lock of the run directories.

    Returns:
      Names of the runs that failed.
    """
    output, failed = pathlib.Path(FLAGS.output), []
    for number, run in enumerate(runs, 1):
        earlier = read_result(output, run)
        if stop() or (earlier is not None and earlier["finished"]):
            continue
        training = Training(run, pathlib.Path(FLAGS.runs))
        begun = "resumes" if training.starts() else "starts"
        print(f"{_now()}  {number} of {len(runs)}  {run.name} {begun}", flush=True)
        try:
            outcome = training.go_on(stop, lock.fileno())
        except SetupError as error:
            print(f"error: {error}\n{error.output}", flush=True)
            failed.append(run.name)
            continue
        print(f"{_now()}  {run.name} {outcome.value}: {training.record().describe()}", flush=True)
        if outcome is Outcome.FAILED:
            print(training.last_output(), flush=True)
            failed.append(run.name)
        _keep(training, outcome is Outcome.FINISHED)
        report(output, experiments)
    return failed


def _keep(training: Training, finished: bool) -> None:
    """Writes a run's result."""
    commit = code(_ROOT).get("commit")
    write_json(
        result_path(pathlib.Path(FLAGS.output), training.run),
        result(training.record(), finished=finished, commit=commit),
    )


def _list(runs: list[Run]) -> None:
    """Prints every run's progress."""
    for run in runs:
        kept = read_result(pathlib.Path(FLAGS.output), run)
        training = Training(run, pathlib.Path(FLAGS.runs))
        if kept is not None and kept["finished"]:
            scores = "  ".join(f"{task} {x}" for task, x in kept["end"]["scores"].items())
            frames, minutes = kept["end"]["frames"], kept["end"]["minutes"]
            state = f"finished  {frames:,} frames  {minutes} minutes  {scores}"
        elif training.starts():
            state = f"unfinished  {training.record().describe()}"
        else:
            state = "not begun"
        print(f"{run.name}  {state}")


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def main(argv: list[str]) -> int:
    """Returns the exit code: 1 if a run failed, 2 for bad input, 130 on a stop."""
    command_line.set_up_process()
    try:
        command_line.reject_positional_arguments(argv)
        experiments = chosen()
        runs = all_runs(list(experiments.values()))
        output = pathlib.Path(FLAGS.output)
        output.mkdir(parents=True, exist_ok=True)
        for run in runs:
            read_result(output, run)  # reports a bad result now, not after days
        if FLAGS.report_only:
            _list(runs)
            report(output, experiments)
            return 0
        stop = _Stop()
        lock = claim(pathlib.Path(FLAGS.runs), stop)
    except (ValueError, OSError) as error:
        command_line.fail(error)
    failed = work_off(runs, experiments, stop, lock)
    if stop():
        print("Interrupted; the same command continues.")
        return 130
    if failed:
        print(f"Failed: {', '.join(failed)}. The same command tries them again.")
        return 1
    return 0


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
