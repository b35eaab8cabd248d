"""A Ray cluster of three hosts that share nothing but a network, and a program across them."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import psutil
import pytest

from launch_programs.run.checkpointing import Checkpointer
from launch_programs.run.metrics import read_rows
from tests.integration import hosts
from tests.integration.programs import ROOT

PORT = 6379

# What the cluster requires of its clients.
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex}

# Ray notices within half a minute that a host is gone.
TIMEOUT = 120


@contextlib.contextmanager
def ray_cluster(*resources: dict[str, int]) -> Iterator[list[hosts.Host]]:
    """Hosts with one Ray node each, the first the head; the others have their own /tmp/ray."""
    pathlib.Path("/tmp/ray").mkdir(exist_ok=True)
    with hosts.network(len(resources)) as machines:
        for machine, amounts in zip(machines, resources, strict=True):
            if machine is not machines[0]:
                machine.hide(pathlib.Path("/tmp/ray"))
            start_ray(machine, machines[0], amounts)
        yield machines


def start_ray(machine: hosts.Host, head: hosts.Host, resources: dict[str, int]) -> None:
    ray = pathlib.Path(sys.executable).with_name("ray")
    command: list[str | os.PathLike[str]] = [ray, "start", "--block", "--disable-usage-stats"]
    command += [f"--node-ip-address={machine.address}", "--num-cpus=2", "--num-gpus=0"]
    command += [f"--resources={json.dumps(resources)}", "--object-store-memory=100000000"]
    if machine is head:
        command += ["--head", f"--port={PORT}", "--include-dashboard=false"]
    else:
        command += [f"--address={head.address}:{PORT}"]
    machine.popen(
        command,
        env={**os.environ, **TOKEN},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def nodes(machine: hosts.Host) -> dict[int, str]:
    """The program's nodes on a host, by process id."""
    names = {}
    for pid in machine.pids():
        with contextlib.suppress(psutil.NoSuchProcess):
            name = psutil.Process(pid).name()
            if "/" in name:
                names[pid] = name
    return names


def names_of_nodes(machine: hosts.Host) -> set[str]:
    return set(nodes(machine).values())


def peers_of_nodes(machine: hosts.Host) -> set[str]:
    """The addresses that a host's nodes are connected to."""
    pids = {f"pid={pid}," for pid in nodes(machine)}
    ss = machine.command(["ss", "-Htnp", "state", "established"])
    peers = set()
    for line in subprocess.run(ss, capture_output=True, text=True, check=True).stdout.splitlines():
        if any(pid in line for pid in pids):
            peer = line.split()[3].rpartition(":")[0]
            peers.add(peer.strip("[]").removeprefix("::ffff:"))
    return peers


@pytest.mark.slow
@pytest.mark.skipif(hosts.missing() is not None, reason=hosts.missing() or "")
def test_learner_queue_and_actors_on_three_hosts(tmp_path: pathlib.Path) -> None:
    logdir = tmp_path / "run"
    logdir.mkdir()
    with ray_cluster({"learner": 1}, {"queue": 1}, {"actor": 2}) as machines:
        head, queue_host, actor_host = machines
        # Only the learner and the coordinator, which runs where `train` does, share a disk.
        queue_host.hide(tmp_path)
        actor_host.hide(tmp_path)
        with (tmp_path / "out").open("w") as output:
            # Until the head serves, `train` says so and exits.
            deadline = time.monotonic() + TIMEOUT
            while True:
                train = head.popen(
                    [
                        sys.executable,
                        "-m",
                        "launch_programs.train",
                        f"--logdir={logdir}",
                        "--launch_type=ray",
                        f"--ray_address={head.address}:{PORT}",
                        "--ray_resources=learner:learner=1",
                        "--ray_resources=queue:queue=1",
                        "--ray_resources=actor:actor=1",
                        "--level_name=toy",
                        "--num_queues=1",
                        "--num_actors=2",
                        "--evaluation_interval=0",
                        "--log_interval=0.5",
                        "--checkpoint_interval=2",
                    ],
                    cwd=ROOT,
                    env={**os.environ, "RAY_AUTH_TOKEN": TOKEN["RAY_AUTH_TOKEN"]},
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )

                def rows() -> int:
                    return len(read_rows(logdir / "learner.csv"))

                while rows() < 4 and train.poll() is None:
                    assert time.monotonic() < deadline, (tmp_path / "out").read_text()
                    time.sleep(0.2)
                if train.poll() is None:
                    break
                time.sleep(1)

        def wait_for_rows(more: int) -> None:
            number, deadline = rows() + more, time.monotonic() + TIMEOUT
            while rows() < number:
                assert train.poll() is None, (tmp_path / "out").read_text()
                assert time.monotonic() < deadline, (tmp_path / "out").read_text()
                time.sleep(0.2)

        assert {"coordinator/0", "learner/0"} <= names_of_nodes(head)
        assert "queue/0" in names_of_nodes(queue_host)
        assert {"actor/0", "actor/1"} <= names_of_nodes(actor_host)
        addresses = {machine.address for machine in machines}
        for machine in machines:
            assert peers_of_nodes(machine) <= addresses
        assert peers_of_nodes(actor_host) >= {head.address, queue_host.address}

        # An actor dies, but its host does not.
        failures = logdir / "failures.csv"
        pid = {name: pid for pid, name in nodes(actor_host).items()}["actor/1"]
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + TIMEOUT
        while pid in nodes(actor_host) or "actor/1" not in names_of_nodes(actor_host):
            assert time.monotonic() < deadline, (tmp_path / "out").read_text()
            time.sleep(0.2)
        assert [(row["node"], row["failure"]) for row in read_rows(failures)] == [
            ("actor/1", "killed by SIGKILL; started again (1 of at most 5 in ten minutes)")
        ]

        # The actors' host loses power; training waits for another with the same resources.
        actor_host.kill()
        deadline = time.monotonic() + TIMEOUT
        while {row["node"] for row in read_rows(failures)[1:]} < {"actor/0", "actor/1"}:
            assert time.monotonic() < deadline, (tmp_path / "out").read_text()
            time.sleep(0.2)
        assert "its host or its Ray actor is gone" in failures.read_text()
        start_ray(actor_host, head, {"actor": 2})
        wait_for_rows(6)
        assert {"actor/0", "actor/1"} <= names_of_nodes(actor_host)

        # The queue's host loses power too: everything restarts from the last checkpoint.
        frames = int(read_rows(logdir / "learner.csv")[-1]["frames"])
        queue_host.kill()
        start_ray(queue_host, head, {"queue": 1})
        deadline = time.monotonic() + TIMEOUT
        while "all nodes start again" not in failures.read_text():
            assert time.monotonic() < deadline, (tmp_path / "out").read_text()
            time.sleep(0.2)
        wait_for_rows(6)
        assert int(read_rows(logdir / "learner.csv")[-1]["frames"]) > frames / 2

        train.send_signal(signal.SIGTERM)
        assert train.wait(20) == 130
        assert not any(names_of_nodes(machine) for machine in machines)
    policy = Checkpointer(logdir / "checkpoints", read_only=True).restore_policy()
    assert policy is not None
    assert policy.frames >= int(read_rows(logdir / "learner.csv")[-1]["frames"])
