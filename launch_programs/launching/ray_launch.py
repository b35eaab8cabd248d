"""A program's nodes on the hosts of a Ray cluster (`--launch_type=ray`).

Every node gets a Ray actor, its keeper, which Ray places on a host with the resources that the
node's group asks for. The keeper reports its host and free ports, the launcher binds the nodes'
addresses to them, and the keeper starts the node in a process of its own and forwards its output.
Ray carries nothing else: nodes talk through Courier and Reverb as they do on one machine.
"""

import pathlib
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import cloudpickle
import launchpad as lp
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from launch_programs.launching.addresses import KnownAddress, own_address
from launch_programs.launching.output_log import OutputLog
from launch_programs.launching.process_environments import process_environments
from launch_programs.launching.ray_keeper import Keeper
from launch_programs.launching.supervisor import (
    LOST,
    ProgramFailed,
    RestartLimit,
    Supervisor,
    last_line,
)
from launch_programs.nodes.program import named_nodes
from launch_programs.run.failure_log import FailureLog

# Seconds between polls of the nodes.
_POLL_SECONDS = 0.5

# Seconds that a node that others talk to may wait for a host with its resources.
_PLACEMENT_SECONDS = 300.0

# Seconds after which the user is told that a node waits for a host.
_WAITING_SECONDS = 60.0

# Seconds that a keeper has to kill its node.
_KILL_SECONDS = 5.0


class RayProcess:
    """A node's process on some host, controlled through its keeper."""

    def __init__(
        self, keeper: Any, started: ray.ObjectRef, log: pathlib.Path, waits: Callable[[], None]
    ):
        """Returns without waiting for the node to start.

        Args:
          keeper: handle of the node's `Keeper`.
          started: future result of the keeper's `start`.
          log: file that the node's output is appended to.
          waits: called once if the node has not started within a minute.
        """
        self._keeper = keeper
        self._pending = started
        self._log = OutputLog(log)
        self._waits = waits
        self._waits_at: float | None = time.monotonic() + _WAITING_SECONDS
        self._code: int | None = None
        self._lost: str | None = None  # why, if the node was lost with its host

    def poll(self) -> int | None:
        """The last reported exit code; None while the node runs or waits for a host."""
        if self._code is not None:
            return self._code
        ready, _ = ray.wait([self._pending], timeout=0)
        if not ready:
            if self._waits_at is not None and time.monotonic() > self._waits_at:
                self._waits_at = None
                self._waits()
            return None
        self._waits_at = None
        try:
            status = ray.get(self._pending)
        except ray.exceptions.RayActorError as error:
            self._lost = f"its host or its Ray actor is gone: {last_line(str(error))}"
            self._end(LOST)
            return self._code
        if status is not None:  # `start` returns None
            if status.output:
                self._log.write(status.output)
            if status.code is not None:
                self._end(status.code)
                return self._code
        self._pending = self._keeper.poll.remote()
        return None

    def _end(self, code: int) -> None:
        self._code = code
        ray.kill(self._keeper)  # frees its resources

    def output(self) -> str:
        """The last lines of output, or what happened to the host."""
        return self._lost or self._log.end()

    def stop(self) -> None:
        """Asks the node to end."""
        self._keeper.send_signal.remote(int(signal.SIGTERM))

    def kill(self) -> None:
        """Kills the node and its keeper."""
        killed = self._keeper.send_signal.remote(int(signal.SIGKILL))
        ray.wait([killed], timeout=_KILL_SECONDS)  # a lost host does not answer
        ray.kill(self._keeper)
        self._code = LOST


class RayLauncher:
    """Starts a program's nodes on the hosts of a cluster."""

    def __init__(
        self,
        program: lp.Program,
        resources: Mapping[str, Mapping[str, float]],
        logs: pathlib.Path,
        report: Callable[[str, str], None],
    ):
        """Finds hosts for the nodes that others talk to, and binds their addresses.

        Args:
          program: the program, with unbound addresses.
          resources: what the nodes of each group ask for; see `ray_backend.parse_resources`.
          logs: directory for the nodes' output.
          report: called with the name of a node that waits for a host, and what it waits for.

        Raises:
          ProgramFailed: no host has had a node's resources for five minutes.
        """
        self._resources = resources
        self._logs = logs
        self._report = report
        nodes = named_nodes(program)
        self._keepers = {name: self._make_keeper(name) for name in nodes if nodes[name].addresses}
        known: dict[str, list[str]] = {}
        for name, keeper in self._keepers.items():
            reserved = keeper.reserve.remote(len(nodes[name].addresses))
            try:
                known[name] = ray.get(reserved, timeout=_PLACEMENT_SECONDS)
            except ray.exceptions.GetTimeoutError:
                self.close()
                raise ProgramFailed(
                    name,
                    f"no host of the cluster has {_describe(resources[name.split('/')[0]])} free; "
                    f"all hosts together have {_describe(ray.cluster_resources())}",
                    for_good=True,
                ) from None
            for address, host in zip(nodes[name].addresses, known[name], strict=True):
                address.bind(KnownAddress(host))
        self._nodes: dict[str, bytes] = {}
        for name, node in nodes.items():
            addresses = list(zip(node.addresses, known.get(name, []), strict=True))
            for address, host in addresses:
                address.bind(KnownAddress(own_address(address, host)))
            self._nodes[name] = cloudpickle.dumps(node.function)
            for address, host in addresses:  # as the other nodes see it
                address.bind(KnownAddress(host))

    @property
    def nodes(self) -> list[str]:
        """Names of the nodes, in starting order."""
        return list(self._nodes)

    def start(self, name: str) -> RayProcess:
        """Starts a node, or queues it until a host is free."""
        keeper = self._keepers.pop(name, None) or self._make_keeper(name)
        group = name.split("/")[0]
        cores = max(1, int(self._resources[group].get("CPU", 1)))
        started = keeper.start.remote(name, self._nodes[name], process_environments(cores)[group])
        wanted = _describe(self._resources[group])
        return RayProcess(
            keeper,
            started,
            self._logs / name,
            lambda: self._report(name, f"waits for a host with {wanted} free"),
        )

    def close(self) -> None:
        """Frees the hosts reserved for nodes that were not started."""
        for keeper in self._keepers.values():
            ray.kill(keeper)
        self._keepers = {}

    def _make_keeper(self, name: str) -> Any:
        group = name.split("/")[0]
        amounts = dict(self._resources[group])
        options: dict[str, Any] = {
            "num_cpus": amounts.pop("CPU", 0),
            "num_gpus": amounts.pop("GPU", 0),
            "memory": amounts.pop("memory", None),
            "resources": amounts,
            "max_restarts": 0,  # the supervisor decides
        }
        if group == "coordinator":  # it writes the run directory on this host
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(
                ray.get_runtime_context().get_node_id(), soft=False
            )
        return ray.remote(Keeper).options(**options).remote()


def _describe(resources: Mapping[str, float]) -> str:
    parts = [
        f"{name}={amount:g}" for name, amount in resources.items() if not name.startswith("node:")
    ]
    return ", ".join(parts) or "nothing"


def run(
    make_program: Callable[[], lp.Program],
    resources: Mapping[str, Mapping[str, float]],
    logs: pathlib.Path,
    max_restarts: int,
    failures: FailureLog,
    stop: threading.Event,
) -> bool:
    """Runs a program to its end, restarting it from its last checkpoint when it fails.

    Args:
      make_program: makes the program, with unbound addresses, for each start.
      resources: what the nodes of each group ask for.
      logs: directory for the nodes' output.
      max_restarts: limit per ten minutes, for each node and for the program.
      failures: records which nodes died and how that was handled.
      stop: asks the program to stop.

    Returns:
      Whether training has finished; otherwise `stop` was set.

    Raises:
      ProgramFailed: the program failed for good or too often.
    """
    limit = RestartLimit(max_restarts)
    while True:
        launcher = RayLauncher(make_program(), resources, logs, failures.add)
        try:
            report = failures.add_restart
            nodes = Supervisor(launcher.nodes, launcher.start, limit, report, _POLL_SECONDS)
            return nodes.run(stop)
        except ProgramFailed as failure:
            if failure.for_good or stop.is_set():
                raise
            count = limit.allow("program")
            if count is None:
                raise ProgramFailed(
                    failure.node, f"{failure.cause}; the program has failed too often"
                ) from failure
            failures.add_restart(
                failure.node,
                f"{failure.cause}; all nodes start again from the last checkpoint ({count})",
            )
        finally:
            launcher.close()
