"""The cluster file: a run, its directory, and where its nodes listen; for nodes started by hand.

    {
      "run": {...},                       as in the run directory's config.json
      "logdir": "/shared/runs/mine",      for the coordinator and the learner
      "cluster": {
        "coordinator": ["host1:7000"],
        "learner": ["host1:7001"],
        "queue": ["host2:7000", "host3:7000"]
      }
    }

The actors and the evaluator have no address, since nobody calls them; the run says how many there
are. With num_queues=0 the queue is in the learner's process, with an address of its own.

A scheduler that knows the addresses passes them in the environment variable CLUSTER_SPEC, as
{"cluster": {...}, "task": {"type": "actor", "index": 3}}. They override those in the file.
"""

import dataclasses
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import launchpad as lp

from launch_programs.launching.addresses import KnownAddress, own_address
from launch_programs.nodes.groups import LISTENING, num_nodes
from launch_programs.run.run_config import RunConfig, from_json

_ADDRESS = re.compile(r"(?P<host>[^\s:/\[\]]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The contents of a cluster file, validated on construction.

    Raises:
      ValueError: the addresses do not fit the run or each other; the message names the job, the
        value and the accepted values.
    """

    run: RunConfig
    logdir: pathlib.Path
    addresses: Mapping[str, tuple[str, ...]]  # job -> HOST:PORT of each of its nodes

    def __post_init__(self) -> None:
        if not self.logdir.is_absolute():
            raise ValueError(f"logdir={str(self.logdir)!r}: must be an absolute path")
        wanted = {**self.num_nodes, "queue": max(1, self.run.num_queues)}
        seen: dict[str, str] = {}
        for job in LISTENING:
            addresses = self.addresses[job]
            if len(addresses) != wanted[job]:
                reason = f"num_queues={self.run.num_queues}" if job == "queue" else "every run"
                raise ValueError(
                    f"cluster: {job} is {list(addresses)}; {reason} needs {wanted[job]} HOST:PORT"
                )
            for i, address in enumerate(addresses):
                match = _ADDRESS.fullmatch(address)
                if match is None or not 0 < int(match["port"]) < 2**16:
                    raise ValueError(
                        f"cluster: {job}/{i} is {address!r}; it must be HOST:PORT, with a port "
                        "from 1 to 65535 and an IPv6 address in brackets"
                    )
                if address in seen:
                    raise ValueError(
                        f"cluster: {seen[address]} and {job}/{i} have the same address {address!r}"
                    )
                seen[address] = f"{job}/{i}"
        learner, queue = self.addresses["learner"][0], self.addresses["queue"][0]
        if self.run.num_queues == 0 and host(queue) != host(learner):
            raise ValueError(
                f"cluster: queue/0 is {queue!r}, learner/0 {learner!r}; with num_queues=0 they are "
                "one process, so the host must be the same"
            )

    @property
    def num_nodes(self) -> dict[str, int]:
        """How many nodes each job has."""
        return num_nodes(self.run)

    def check_node(self, job: str, task: int) -> None:
        """Rejects a node that is not in the program.

        Raises:
          ValueError: the program has no such node.
        """
        if job not in self.num_nodes:
            raise ValueError(f"job_name={job!r}: must be one of {', '.join(self.num_nodes)}")
        count = self.num_nodes[job]
        if count == 0:
            reason = {
                "queue": "with num_queues=0 the queue is in the learner's process",
                "evaluator": "evaluation_interval is 0",
            }[job]
            raise ValueError(f"job_name={job!r}: this run has no such node: {reason}")
        if not 0 <= task < count:
            accepted = "0" if count == 1 else f"from 0 to {count - 1}"
            raise ValueError(f"task={task}: of job {job!r} it must be {accepted}")

    def listens_at(self, job: str, task: int) -> list[str]:
        """The addresses at which the process of a node listens."""
        addresses = [self.addresses[job][task]] if job in LISTENING else []
        if job == "learner" and self.run.num_queues == 0:
            addresses += self.addresses["queue"]
        return addresses

    def to_json(self) -> dict[str, Any]:
        """Converts to nested dicts, lists and scalars."""
        return {
            "run": self.run.to_json(),
            "logdir": str(self.logdir),
            "cluster": {job: list(self.addresses[job]) for job in LISTENING},
        }


def host(address: str) -> str:
    """The host of HOST:PORT, without an IPv6 address's brackets."""
    return address.rpartition(":")[0].strip("[]")


def read_cluster(path: pathlib.Path, spec: str | None = None) -> Cluster:
    """Reads a cluster file.

    Args:
      path: path of the file.
      spec: CLUSTER_SPEC, whose addresses override those in the file.

    Raises:
      ValueError: either cannot be read, or they do not fit together.
    """
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise ValueError(f"cluster={str(path)!r}: cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    overrides = {} if spec is None else _spec_addresses(spec)
    try:
        _require_keys(values, ("run", "logdir", "cluster"), "the file")
        _require_keys(values["cluster"], LISTENING, "cluster")
        if not isinstance(values["logdir"], str):
            raise ValueError(f"logdir={values['logdir']!r}: must be an absolute path")
        addresses = {job: _addresses(values["cluster"], job) for job in LISTENING}
        run = from_json(values["run"])
        return Cluster(run, pathlib.Path(values["logdir"]), {**addresses, **overrides})
    except ValueError as error:
        source = f"{path} with CLUSTER_SPEC" if overrides else str(path)
        raise ValueError(f"{source}: {error}") from error


def spec_task(spec: str) -> tuple[str, int]:
    """The job and the task that CLUSTER_SPEC assigns to this process.

    Raises:
      ValueError: it assigns none.
    """
    task = _parse_spec(spec).get("task")
    if (
        not isinstance(task, dict)
        or not isinstance(task.get("type"), str)
        or type(task.get("index")) is not int
    ):
        raise ValueError(
            f'CLUSTER_SPEC: task is {task!r}; it must be such as {{"type": "actor", "index": 3}}'
        )
    return task["type"], task["index"]


def _spec_addresses(spec: str) -> dict[str, tuple[str, ...]]:
    cluster = _parse_spec(spec).get("cluster")
    if not isinstance(cluster, dict):
        raise ValueError(
            f"CLUSTER_SPEC: cluster is {cluster!r}; it must be an object of lists of HOST:PORT"
        )
    try:
        return {job: _addresses(cluster, job) for job in LISTENING if job in cluster}
    except ValueError as error:
        raise ValueError(f"CLUSTER_SPEC: {error}") from error


def _parse_spec(spec: str) -> dict[str, Any]:
    try:
        values = json.loads(spec)
    except json.JSONDecodeError as error:
        raise ValueError(f"CLUSTER_SPEC is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"CLUSTER_SPEC is {values!r}; it must be an object")
    return values


def _require_keys(values: Any, keys: tuple[str, ...], where: str) -> None:
    if not isinstance(values, dict) or set(values) != set(keys):
        found = sorted(values) if isinstance(values, dict) else values
        raise ValueError(f"{where} has {found!r}; it must have {', '.join(keys)}")


def _addresses(cluster: Mapping[str, Any], job: str) -> tuple[str, ...]:
    values = cluster[job]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"cluster: {job} is {values!r}; it must be a list of HOST:PORT")
    return tuple(values)


def bind(nodes: Mapping[str, lp.PyNode], cluster: Cluster, own: str) -> None:
    """Binds the addresses of a program's nodes, in the process of one of them.

    Args:
      nodes: nodes by name; see `program.named_nodes`.
      cluster: cluster of the same run.
      own: name of the node that this process runs.
    """
    for name, node in nodes.items():
        group, number = name.split("/")
        for address in node.addresses:
            # Without queue nodes, the learner's process also has the queue's address.
            is_queue = address.name.startswith("reverb")
            job, i = ("queue", 0) if is_queue and group == "learner" else (group, int(number))
            known = cluster.addresses[job][i]
            address.bind(KnownAddress(own_address(address, known) if name == own else known))
