"""Trains while nodes are killed: `python -m benchmarks.soak --seconds=1200 --launch_type=ray`.

Every few seconds a node of the running program, chosen at random, gets SIGKILL, the learner and the
coordinator not excepted. A local program ends when one of these dies: it is then resumed, as its
user would. Reports frames, restarts, what work was lost, and every process's memory.
"""

import collections
import contextlib
import json
import os
import pathlib
import random
import shlex
import signal
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

from launch_programs.metrics import read_rows

FLAGS = flags.FLAGS

# Every process that the program starts inherits this variable, on whatever way.
_MARK = "POPART_IMPALA_SOAK"

# Seconds between samples of the processes' memory.
_SAMPLE_SECONDS = 5.0

# Age in seconds from which on a process's memory should no longer grow: it has imported and
# compiled all it needs.
_SETTLED_SECONDS = 30.0


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_float("seconds", 1200.0, "Seconds that the soak lasts.", lower_bound=1.0)
    flags.DEFINE_float(
        "kill_interval", 10.0, "Mean seconds between kills; 0 for none.", lower_bound=0.0
    )
    flags.DEFINE_string("launch_type", "ray", "As of train.")
    flags.DEFINE_string("flags", "", "More flags of train, in one string.")
    flags.DEFINE_integer("seed", 1, "Seed of when which node is killed.")
    flags.DEFINE_string("json", None, "File to write the figures to; by default none.")


class Node(NamedTuple):
    """A node's process."""

    name: str  # such as actor/3
    process: psutil.Process


class Soak:
    """A training program, and what happens to it."""

    def __init__(self, logdir: pathlib.Path):
        """Starts nothing."""
        self.logdir = logdir
        self.mark = uuid.uuid4().hex
        self.kills: collections.Counter[str] = collections.Counter()  # by group
        self.resumed = 0
        # Resident bytes by name and process id, with the process's age in seconds.
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
        """The nodes that run."""
        nodes = []
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                name = _name(process)
                if "/" in name:
                    nodes.append(Node(name, process))
        return sorted(nodes, key=lambda node: node.name)

    def sample(self) -> None:
        """Notes every process's memory."""
        now = time.time()
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                key = (_name(process), process.pid)
                age = now - process.create_time()
                self.memory[key].append((age, process.memory_info().rss))

    def frames(self) -> int:
        """Frames that the learner has told of, 0 before it has."""
        rows = read_rows(self.logdir / "learner.csv")
        return int(rows[-1]["frames"]) if rows else 0

    def run(self) -> None:
        """Soaks, and stops the program in order at the end."""
        chance = random.Random(FLAGS.seed)
        end = time.monotonic() + FLAGS.seconds
        self.start()
        while self.frames() == 0 and time.monotonic() < end:  # whatever there is has started once
            time.sleep(0.5)
        next_kill = next_sample = time.monotonic()
        while (now := time.monotonic()) < end:
            if self.program.poll() is not None:
                self.resumed += 1
                self.start()
            if now >= next_sample:
                self.sample()
                next_sample = now + _SAMPLE_SECONDS
            if FLAGS.kill_interval and now >= next_kill:
                next_kill = now + chance.uniform(0.5, 1.5) * FLAGS.kill_interval
                nodes = self.nodes()
                if nodes:
                    node = chance.choice(nodes)
                    with contextlib.suppress(psutil.NoSuchProcess):
                        node.process.kill()
                        self.kills[node.name.split("/")[0]] += 1
            time.sleep(0.2)
        self.sample()
        self.program.send_signal(signal.SIGINT)
        self.program.wait(timeout=60)


def _name(process: psutil.Process) -> str:
    """A node's name, or what else the process is."""
    arguments = process.cmdline()
    for i, argument in enumerate(arguments):
        if argument == "launch_programs.node_process":
            return arguments[i + 1]
        if argument.startswith("launch_programs."):
            return argument.removeprefix("launch_programs.")
    return "ray" if FLAGS.launch_type == "ray" else pathlib.Path(arguments[0]).name


def lost_frames(rows: list[dict[str, str]]) -> list[int]:
    """Frames that each new start of the learner went back by, at least: rows come at intervals.

    Args:
      rows: of learner.csv.
    """
    frames = [int(row["frames"]) for row in rows]
    return [
        before - after for before, after in zip(frames, frames[1:], strict=False) if after < before
    ]


def memory_growth(samples: list[tuple[float, int]]) -> dict[str, float] | None:
    """How a process's memory went on after it had settled; None if it did not live to settle.

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
    rows = read_rows(soak.logdir / "learner.csv")
    failures = read_rows(soak.logdir / "failures.csv")
    again = collections.Counter(
        row["node"].split("/")[0] for row in failures if "start" in row["failure"]
    )
    lost = lost_frames(rows)
    frames = soak.frames()
    memory: dict[str, dict[str, float]] = {}
    for (name, _), samples in soak.memory.items():
        growth = memory_growth(samples)
        # Of the processes of a name, the one that lived longest.
        if growth and growth["seconds"] >= memory.get(name, {}).get("seconds", 0.0):
            memory[name] = growth
    figures = {
        "seconds": seconds,
        "frames": frames,
        "frames_lost": lost,
        "kills": dict(soak.kills),
        "restarts": dict(again),
        "resumed": soak.resumed,
        "processes_left": left,
        "memory": memory,
    }
    print(
        f"{seconds:,.0f} s, {frames:,} frames ({frames / seconds:,.0f} frames/s)\n"
        f"killed: {dict(soak.kills)}\n"
        f"started again by the program, by the node that had died: {dict(again)}; resumed by "
        f"hand: {soak.resumed}\n"
        f"frames lost in {len(lost)} new starts of the learner: {sum(lost):,} "
        f"({sum(lost) / max(1, frames + sum(lost)):.1%} of the work)\n"
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
    """Soaks and reports; returns 1 if there was no progress or a process is left."""
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
