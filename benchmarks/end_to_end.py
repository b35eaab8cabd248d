"""Measures the real program from outside, started as a user would start it."""

import collections
import dataclasses
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any, NamedTuple

import psutil

from launch_programs.run.metrics import read_rows
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory

# Seconds after which a program that has made no learner step is given up on.
_START_TIMEOUT = 300


class EndToEnd(NamedTuple):
    """What a run did between the end of its warm-up and its stop."""

    agent_steps_per_second: float
    frames_per_second: float
    policy_lag_mean: float  # learner steps
    policy_lag_max: int
    start_seconds: float  # from the command to the first learner step, to within half a second
    node_core_ms: dict[str, float]  # CPU time per agent step, by group of nodes
    memory_growth_mib: dict[str, float]  # of resident memory, by group of nodes


def measure(config: RunConfig, logdir: pathlib.Path, warm_up: float, seconds: float) -> EndToEnd:
    """Trains for `seconds` after `warm_up` seconds of learning, without evaluator or checkpoints.

    Args:
      config: the run.
      logdir: its run directory, created here.
      warm_up: seconds of learning before the measurement.
      seconds: length of the measurement.

    Raises:
      RuntimeError: the program did not start learning.
    """
    directory = RunDirectory(logdir)
    directory.create()
    directory.write_config(
        dataclasses.replace(
            config, log_interval=0.5, evaluation_interval=0, checkpoint_interval=1e6
        )
    )
    command = [sys.executable, "-m", "launch_programs.train", f"--logdir={logdir}"]
    metrics = logdir / "learner.csv"
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def rows_of_at_least(number: int) -> list[dict[str, str]]:
        while len(rows := read_rows(metrics)) < number:
            if process.poll() is not None or time.monotonic() > started + _START_TIMEOUT:
                process.kill()
                raise RuntimeError(f"no learner step was made:\n{process.communicate()[0]}")
            time.sleep(0.05)
        return rows

    try:
        rows_of_at_least(1)
        first_row = time.monotonic() - started
        time.sleep(warm_up)
        first, usage_before = read_rows(metrics), _usage(process.pid)
        time.sleep(seconds)
        # On a busy machine the next row may come later.
        last, usage_after = rows_of_at_least(len(first) + 1), _usage(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
    before, after = first[-1], last[-1]
    rows = [row for row in read_rows(metrics) if float(row["time"]) > float(before["time"])]
    steps = (int(after["frames"]) - int(before["frames"])) / config.agent.action_repeat
    elapsed = float(after["time"]) - float(before["time"])
    lags = [float(row["policy_lag_mean"]) for row in rows]
    return EndToEnd(
        agent_steps_per_second=steps / elapsed,
        frames_per_second=steps * config.agent.action_repeat / elapsed,
        policy_lag_mean=sum(lags) / len(lags),
        policy_lag_max=max(int(row["policy_lag_max"]) for row in rows),
        start_seconds=first_row,
        node_core_ms={
            group: 1000 * (usage.cpu - usage_before[group].cpu) / steps
            for group, usage in usage_after.items()
        },
        memory_growth_mib={
            group: (usage.rss - usage_before[group].rss) / 2**20
            for group, usage in usage_after.items()
        },
    )


class _Usage(NamedTuple):
    cpu: float  # seconds
    rss: int  # bytes


def _usage(pid: int) -> dict[str, _Usage]:
    """CPU time and memory of the program's processes, summed by group of nodes.

    A node's process has the node's name, such as "actor/1". Its child processes count towards it.
    """
    total: dict[str, Any] = collections.defaultdict(lambda: _Usage(0.0, 0))

    def add(process: psutil.Process, group: str) -> None:
        name, slash, _ = process.name().partition("/")
        group = name if slash else group
        times, rss = process.cpu_times(), process.memory_info().rss
        old = total[group]
        total[group] = _Usage(old.cpu + times.user + times.system, old.rss + rss)
        for child in process.children():
            add(child, group)

    add(psutil.Process(pid), "train and launcher")
    return dict(total)
