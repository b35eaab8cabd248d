"""Trains while nodes are killed: `python -m benchmarks.soak --seconds=1200 --launch_type=ray`.

Some seconds after the program has resumed learning, a randomly chosen node gets SIGKILL, the
learner and the coordinator included. A local program ends when one of these two dies; it is then
resumed, as its user would do. Reports frames, restarts, the time until it learned again, the work
lost, and every process's memory.
"""

import collections
import contextlib
import json
import os
import pathlib
import random
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import psutil
from absl import app, flags
from rich.console import Console
from rich.table import Table

from launch_programs.run.metrics import read_rows

FLAGS = flags.FLAGS

# Every process that the program starts inherits this variable, by whatever route.
_MARK = "POPART_IMPALA_SOAK"

# Seconds between samples of the processes' memory.
_SAMPLE_SECONDS = 5.0

# Age in seconds after which a process's memory should no longer grow: it has imported and compiled
# everything it needs.
_SETTLED_SECONDS = 30.0


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_float("seconds", 1200.0, "Seconds that the soak lasts.", lower_bound=1.0)
    flags.DEFINE_float(
        "kill_interval",
        10.0,
        "Mean seconds of learning between kills; 0 for none.",
        lower_bound=0.0,
    )
    flags.DEFINE_string("launch_type", "ray", "As of train.")
    flags.DEFINE_string("flags", "", "More flags of train, in one string.")
    flags.DEFINE_integer("seed", 1, "Seed of when which node is killed.")
    flags.DEFINE_string("json", None, "File to write the figures to; by default none.")


class Node(NamedTuple):
    """A node's process."""

    name: str  # such as actor/3
    process: psutil.Process


class Kill(NamedTuple):
    """A node that was killed."""

    group: str
    lost_frames: int  # learned since the last checkpoint, if the program restarts from it
    seconds: float  # until the learner's next row of metrics


class Soak:
    """A training program, and what happens to it."""

    def __init__(self, logdir: pathlib.Path):
        self.logdir = logdir
        self.mark = uuid.uuid4().hex
        self.kills: list[Kill] = []
        self.resumed = 0
        # Resident bytes by name and process id, with the process's age in seconds.
        self._next_sample = 0.0
        self.memory: dict[tuple[str, int], list[tuple[float, int]]] = collections.defaultdict(list)

    def start(self) -> None:
        """Starts the program, or resumes it."""
        command = [sys.executable, "-m", "launch_programs.train", f"--logdir={self.logdir}"]
        command += [f"--launch_type={FLAGS.launch_type}", "--max_restarts=1000000"]
        command += ["--ray_address=local"] if FLAGS.launch_type == "ray" else []
        if not self.logdir.exists():
            command += ["--level_name=toy", "--total_environment_frames=100000000000"]
            command += ["--log_interval=1", "--checkpoint_interval=5"]
            command += ["--evaluation_interval=100000"]
        with open(f"{self.logdir}.out", "a") as output:
            self.program = subprocess.Popen(
                [*command, *shlex.split(FLAGS.flags)],
                env={**os.environ, _MARK: self.mark},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def processes(self) -> Iterator[psutil.Process]:
        """The program's processes, wherever they are in the tree."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.environ().get(_MARK) == self.mark:
                    yield process

    def nodes(self) -> list[Node]:
        """The running nodes."""
        nodes = []
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                name = _name(process)
                if "/" in name:
                    nodes.append(Node(name, process))
        return sorted(nodes, key=lambda node: node.name)

    def sample(self) -> None:
        """Records every process's memory."""
        now = time.time()
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                key = (_name(process), process.pid)
                age = now - process.create_time()
                self.memory[key].append((age, process.memory_info().rss))

    def rows(self) -> list[dict[str, str]]:
        """The learner's metrics."""
        return read_rows(self.logdir / "learner.csv")

    def kill(self, node: Node) -> None:
        """Kills a node and waits until the program learns again, resuming it if it has ended."""
        group, rows = node.name.split("/")[0], self.rows()
        lost = 0
        if group in ("learner", "coordinator", "queue"):
            agent = json.loads((self.logdir / "config.json").read_text())["agent"]
            per_step = agent["batch_size"] * agent["unroll_length"] * agent["action_repeat"]
            saved = per_step * int((self.logdir / "last-checkpoint").read_text())
            lost = max(0, int(rows[-1]["frames"]) - saved)
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just been replaced
            node.process.kill()
        killed = time.monotonic()
        if group in ("actor", "evaluator"):  # training does not stop
            while node.name not in [n.name for n in self.nodes() if n != node]:
                self.tend()
        while len(self.rows()) <= len(rows):
            self.tend()
        self.kills.append(Kill(group, lost, time.monotonic() - killed))

    def tend(self) -> None:
        """Resumes a program that has ended, samples memory, and lets a little time pass."""
        if self.program.poll() is not None:
            self.resumed += 1
            self.start()
        if time.monotonic() >= self._next_sample:
            self.sample()
            self._next_sample = time.monotonic() + _SAMPLE_SECONDS
        time.sleep(0.2)

    def run(self) -> None:
        """Runs the soak, and stops the program cleanly at the end."""
        chance = random.Random(FLAGS.seed)
        end = time.monotonic() + FLAGS.seconds
        self.start()
        while not self.rows() or not (self.logdir / "last-checkpoint").exists():
            self.tend()
        while time.monotonic() < end:
            next_kill = time.monotonic() + chance.uniform(0.5, 1.5) * FLAGS.kill_interval
            while time.monotonic() < (min(end, next_kill) if FLAGS.kill_interval else end):
                self.tend()
            if FLAGS.kill_interval and time.monotonic() < end:
                self.kill(chance.choice(self.nodes()))
        self.sample()
        self.program.send_signal(signal.SIGINT)
        self.program.wait(timeout=60)


def _name(process: psutil.Process) -> str:
    """A node's name, or what the process is otherwise."""
    if "/" in process.name():
        return process.name()
    arguments = process.cmdline()
    for argument in arguments:
        if argument.startswith("launch_programs."):
            return argument.removeprefix("launch_programs.")
    return "ray" if FLAGS.launch_type == "ray" else pathlib.Path(arguments[0]).name


def memory_growth(samples: list[tuple[float, int]]) -> dict[str, float] | None:
    """How a process's memory grew after it had settled; None if it did not live that long.

    Args:
      samples: age in seconds and resident bytes, by age.
    """
    settled = [(age, rss) for age, rss in samples if age >= _SETTLED_SECONDS]
    if len(settled) < 2:
        return None
    (first_age, first), (last_age, last) = settled[0], settled[-1]
    return {
        "seconds": last_age - first_age,
        "mib": first / 2**20,
        "growth_mib": (last - first) / 2**20,
    }


def report(soak: Soak, left: list[str], seconds: float) -> dict[str, Any]:
    """Prints the figures and returns them."""
    failures = read_rows(soak.logdir / "failures.csv")
    again = collections.Counter(
        row["node"].split("/")[0] for row in failures if "start" in row["failure"]
    )
    kills = collections.defaultdict(list)
    for kill in soak.kills:
        kills[kill.group].append(kill)
    lost = sum(kill.lost_frames for kill in soak.kills)
    frames = int(soak.rows()[-1]["frames"])
    memory: dict[str, dict[str, float]] = {}
    for (name, _), samples in soak.memory.items():
        growth = memory_growth(samples)
        # Of the processes with the same name, the one that lived longest.
        if growth and growth["seconds"] >= memory.get(name, {}).get("seconds", 0.0):
            memory[name] = growth
    figures = {
        "seconds": seconds,
        "frames": frames,
        "frames_lost": lost,
        "kills": {group: [kill.seconds for kill in some] for group, some in kills.items()},
        "restarts": dict(again),
        "resumed": soak.resumed,
        "processes_left": left,
        "memory": memory,
    }
    print(f"{seconds:,.0f} s, {frames:,} frames ({frames / seconds:,.0f} frames/s)")
    for group, some in sorted(kills.items()):
        waits = [kill.seconds for kill in some]
        print(
            f"{group}: killed {len(some)} times, learned again after a median of "
            f"{statistics.median(waits):.1f} s, at most {max(waits):.1f}"
        )
    print(
        f"started again by the program, by the node that had died: {dict(again)}; resumed by "
        f"hand: {soak.resumed}\n"
        f"frames learned and lost: {lost:,} ({lost / (frames + lost):.1%} of all)\n"
        f"processes left at the end: {', '.join(left) or 'none'}"
    )
    table = Table(title=f"memory after the first {_SETTLED_SECONDS:.0f} s, longest-lived process")
    for column in ("process", "seconds", "MiB", "growth MiB", "growth MiB/min"):
        table.add_column(column, justify="left" if column == "process" else "right")
    for name, growth in sorted(memory.items()):
        table.add_row(
            name,
            f"{growth['seconds']:.0f}",
            f"{growth['mib']:.0f}",
            f"{growth['growth_mib']:+.1f}",
            f"{60 * growth['growth_mib'] / max(1.0, growth['seconds']):+.2f}",
        )
    Console(width=100).print(table)
    return figures


def main(argv: list[str]) -> int:
    """Runs the soak and reports; returns 1 if there was no progress or a process is left."""
    del argv
    with tempfile.TemporaryDirectory() as directory:
        soak = Soak(pathlib.Path(directory) / "run")
        started = time.monotonic()
        try:
            soak.run()
            left = [_name(process) for process in soak.processes()]
            figures = report(soak, left, time.monotonic() - started)
        finally:
            for process in soak.processes():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        if FLAGS.json is not None:
            pathlib.Path(FLAGS.json).write_text(json.dumps(figures, indent=2) + "\n")
        if left or not figures["frames"]:
            print(pathlib.Path(f"{soak.logdir}.out").read_text()[-2000:])
            return 1
    return 0


if __name__ == "__main__":
    define_flags()
    app.run(main)
