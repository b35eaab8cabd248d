"""Measures a stage in wall and CPU time, repeating it for some seconds after a warm-up."""

import time
from collections.abc import Callable
from typing import NamedTuple

import psutil

# Repetitions before the clock starts: compilation, caches, threads.
_WARM_UP = 3


class Measurement(NamedTuple):
    """What one stage did, alone in its process."""

    agent_steps: int
    wall_seconds: float
    cpu_seconds: float  # of all threads of this process, and of processes that it has started

    @property
    def steps_per_second(self) -> float:
        """Agent steps per second of wall time."""
        return self.agent_steps / self.wall_seconds

    @property
    def core_ms(self) -> float:
        """CPU time per agent step, in milliseconds."""
        return 1000 * self.cpu_seconds / self.agent_steps


def repeat(run: Callable[[], object], steps_per_run: int, seconds: float) -> Measurement:
    """Calls `run`, which makes `steps_per_run` agent steps, for about `seconds`."""
    for _ in range(_WARM_UP):
        run()
    runs = 0
    wall, cpu = time.perf_counter(), _cpu_seconds()
    while time.perf_counter() < wall + seconds:
        run()
        runs += 1
    return Measurement(runs * steps_per_run, time.perf_counter() - wall, _cpu_seconds() - cpu)


def _cpu_seconds() -> float:
    """CPU time so far of this process and its descendants: an emulator may be one."""
    children = psutil.Process().children(recursive=True)
    times = [child.cpu_times() for child in children]
    return time.process_time() + sum(t.user + t.system for t in times)
