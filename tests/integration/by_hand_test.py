"""A program whose nodes are started one by one, on hosts that share nothing but a network."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from launch_programs.run.metrics import read_rows
from tests.integration import hosts
from tests.integration.hosts import Host
from tests.integration.programs import ROOT, STOP_SECONDS, run, saved_frames

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(hosts.missing() is not None, reason=str(hosts.missing())),
]


class Nodes:
    """The nodes of one program, each with its output in a file."""

    def __init__(self, logdir: pathlib.Path, *flags: str):
        """Makes the run and its cluster file, and copies the file next to the run directory."""
        self.logdir = logdir
        self.file = logdir.with_name("cluster.json")
        made = run("cluster_template", f"--logdir={logdir}", "--log_interval=0.2", *flags)
        assert made.returncode == 0, made.stderr
        self.file.write_bytes((logdir / "cluster.json").read_bytes())
        self._processes: dict[str, subprocess.Popen[Any]] = {}

    def move(self, addresses: dict[str, list[str]]) -> None:
        """Edits the cluster file, as a user does."""
        values = json.loads(self.file.read_text())
        values["cluster"].update(addresses)
        self.file.write_text(json.dumps(values))

    def start(self, host: Host, name: str, *, spec: dict[str, Any] | None = None) -> None:
        """Starts a node on a host, by flags or else by CLUSTER_SPEC."""
        job, task = name.split("/")
        argv = [sys.executable, "-m", "launch_programs.run_node", f"--cluster={self.file}"]
        # A proxy that does not work between nodes, as in many clusters.
        variables = {**os.environ, "http_proxy": "http://127.0.0.1:9"}
        if spec is None:
            argv += [f"--job_name={job}", f"--task={task}"]
        else:
            named = {"cluster": spec, "task": {"type": job, "index": int(task)}}
            variables["CLUSTER_SPEC"] = json.dumps(named)
        with self._log(name).open("a") as log:
            self._processes[name] = host.popen(
                argv,
                cwd=ROOT,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def signal(self, name: str, signum: signal.Signals) -> None:
        """Sends a signal to a node."""
        self._processes[name].send_signal(signum)

    def wait_until(self, condition: Callable[[], bool], timeout: float = 180) -> None:
        """Waits until `condition` holds; fails with all output otherwise."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.05)

    def codes(self) -> dict[str, int | None]:
        """Exit codes."""
        return {name: process.poll() for name, process in self._processes.items()}

    def assert_end(self, timeout: float) -> None:
        """Waits until all nodes have ended, and checks that they ended as they should."""
        self.wait_until(lambda: None not in self.codes().values(), timeout)
        assert set(self.codes().values()) == {0}, self.output()
        assert "Traceback" not in self.output()

    def output(self) -> str:
        """The output of all nodes so far, and their exit codes."""
        texts = [f"--- {name}\n{self._log(name).read_text()}" for name in self._processes]
        return "\n".join([*texts, str(self.codes())])

    def consumed(self) -> int:
        """Frames in the last row of metrics."""
        rows = read_rows(self.logdir / "learner.csv")
        return int(rows[-1]["frames"]) if rows else 0

    def _log(self, name: str) -> pathlib.Path:
        return self.logdir.with_name(f"{name.replace('/', '-')}.out")


@pytest.fixture
def cluster() -> Iterator[list[Host]]:
    """Hosts of the coordinator, the learner, the queue, and the actors."""
    with hosts.network(4) as four:
        yield four


def hide_disk(cluster: list[Host], logdir: pathlib.Path) -> None:
    """Only coordinator and learner need the run directory."""
    for host in cluster[2:]:
        host.hide(logdir)


def test_each_node_on_its_host_and_an_actor_that_dies(
    cluster: list[Host], tmp_path: pathlib.Path
) -> None:
    nodes = Nodes(
        tmp_path / "run",
        "--level_name=toy",
        "--num_actors=1",
        "--num_queues=1",
        "--total_environment_frames=32000",
        "--evaluation_interval=4000",
        f"--hosts={cluster[1].address},{cluster[2].address}",
    )
    nodes.move({"coordinator": [f"{cluster[0].address}:7000"]})
    hide_disk(cluster, nodes.logdir)
    placed = {"coordinator/0": 0, "learner/0": 1, "queue/0": 2, "actor/0": 3, "evaluator/0": 3}
    for name, host in placed.items():
        nodes.start(cluster[host], name)
    nodes.wait_until(lambda: nodes.consumed() > 6400)
    nodes.signal("actor/0", signal.SIGKILL)
    nodes.wait_until(lambda: nodes.codes()["actor/0"] == -signal.SIGKILL)
    before = nodes.consumed()
    assert before < 32_000  # the next actor has work left
    nodes.start(cluster[3], "actor/0")
    nodes.assert_end(120)
    assert saved_frames(nodes.logdir) == 32_000
    assert nodes.output().count("actor/0: the program has ended") == 1
    assert read_rows(nodes.logdir / "evaluator.csv")
    # No host has talked to itself, so no node took a loopback address for that of another host.
    assert [host.loopback_packets() for host in cluster] == [0, 0, 0, 0]
    assert [host.pids() for host in cluster] == [[], [], [], []]


def test_addresses_of_a_scheduler_and_a_stop(cluster: list[Host], tmp_path: pathlib.Path) -> None:
    """The queue in the learner's process; the coordinator is told to stop."""
    flags = ("--level_name=toy", "--num_actors=1", "--evaluation_interval=0")
    nodes = Nodes(tmp_path / "run", *flags)  # its cluster file has useless addresses
    hide_disk(cluster, nodes.logdir)
    spec = {
        "coordinator": [f"{cluster[0].address}:4000"],
        "learner": [f"{cluster[1].address}:4000"],
        "queue": [f"{cluster[1].address}:4001"],
        "actor": ["an-address-of-no-use:4000"],
    }
    placed = {"coordinator/0": 0, "learner/0": 1, "actor/0": 2}
    for name, host in placed.items():
        nodes.start(cluster[host], name, spec=spec)
    nodes.wait_until(lambda: nodes.consumed() > 10_000)
    seen = nodes.consumed()
    nodes.signal("coordinator/0", signal.SIGTERM)
    nodes.assert_end(STOP_SECONDS)
    assert saved_frames(nodes.logdir) >= seen
