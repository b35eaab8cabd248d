"""Runs one node of a program in this process, for clusters whose nodes are started by hand.

    python -m launch_programs.run_node --cluster=cluster.json --job_name=actor --task=3

The cluster file (cluster.py) comes from `cluster_template`. Only the coordinator and the learner
use the run directory. All nodes end when the coordinator does: when the run is finished or, after a
checkpoint, when Ctrl-C or SIGTERM asks the coordinator to stop. An actor or the evaluator that ends
earlier can be started again.
"""

import os
import socket
import sys
from typing import NoReturn

from absl import flags, logging

from launch_programs.console import at_start, command_line
from launch_programs.launching.addresses import check_localhost, port
from launch_programs.launching.cluster import (
    Cluster,
    bind,
    host,
    read_cluster,
    spec_task,
)
from launch_programs.launching.process_environments import process_environments
from launch_programs.nodes.groups import GROUPS, LISTENING
from launch_programs.run.run_config import contradictions
from launch_programs.run.run_directory import RunDirectory, user_path

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_string("cluster", None, "Cluster file; cluster_template writes one.")
    flags.DEFINE_string(
        "job_name",
        None,
        f"Group of the node: {', '.join(GROUPS)}. Without --job_name "
        "and --task, CLUSTER_SPEC says which node this is.",
    )
    flags.DEFINE_integer("task", None, "Number of the node in its group, from 0.")
    flags.DEFINE_integer("cores", 1, "CPU cores that an actor uses.", lower_bound=1)


def _read_flags() -> tuple[Cluster, str, int]:
    """The cluster and the node that the flags and the environment specify.

    Raises:
      ValueError: they specify none.
    """
    if FLAGS.cluster is None:
        raise ValueError("cluster: --cluster=FILE must be given; cluster_template writes the file")
    spec = os.environ.get("CLUSTER_SPEC")
    if FLAGS.job_name is not None and FLAGS.task is not None:
        job, task = FLAGS.job_name, FLAGS.task
    elif FLAGS.job_name is None and FLAGS.task is None and spec is not None:
        job, task = spec_task(spec)
    else:
        raise ValueError(
            f"job_name={FLAGS.job_name!r}, task={FLAGS.task!r}: give both, or neither if the "
            "environment variable CLUSTER_SPEC says which node this is"
        )
    cluster = read_cluster(user_path(FLAGS.cluster), spec)
    cluster.check_node(job, task)
    if FLAGS["cores"].present and job != "actor":
        raise ValueError(f"cores={FLAGS.cores}: only an actor has this setting, not job {job!r}")
    return cluster, job, task


def _check_addresses(cluster: Cluster, job: str, task: int) -> None:
    """Checks the addresses at which this node is to listen, before it starts.

    Raises:
      ValueError: a port cannot be used.
    """
    for address in cluster.listens_at(job, task):
        with socket.socket() as any_socket:
            any_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC's sockets do
            try:
                any_socket.bind(("", port(address)))
            except OSError as error:
                raise ValueError(
                    f"{job}/{task} is to listen at {address}, but that port of this machine cannot "
                    f"be had: {error.strerror}; end what uses it, or change the cluster file"
                ) from error
        if not _is_own(host(address)):
            # Not an error: a container may be reachable at its host's address.
            print(
                f"note: {job}/{task} is to be reached at {address}, which is no address of this "
                "machine",
                file=sys.stderr,
            )


def _is_own(name: str) -> bool:
    """Whether a host name or address belongs to this machine."""
    try:
        found = socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM)
    except socket.gaierror:
        return False
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as any_socket:
            try:
                any_socket.bind(address)
            except OSError:
                continue
            return True
    return False


def _set_environment(job: str) -> None:
    """Restarts this process with the node's environment variables, unless they are set."""
    wanted = process_environments(FLAGS.cores)[job]
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **wanted})


def _claim(cluster: Cluster) -> RunDirectory:
    """Claims the run directory for the returned object's lifetime and writes the configuration.

    Raises:
      ValueError: another coordinator has claimed it, or it contains a different run.
    """
    directory = RunDirectory(cluster.logdir)
    directory.create()
    directory.lock()
    if directory.config.exists():
        differences = contradictions(directory.read_config(), cluster.run)
        if differences:
            raise ValueError(
                f"the run in {directory.path} cannot be resumed with the cluster file's settings: "
                f"{'; '.join(differences)}; recreate the file with cluster_template"
            )
    directory.write_config(cluster.run)
    return directory


def _run(cluster: Cluster, job: str, task: int) -> None:
    """Runs the node until it ends.

    Raises:
      SystemExit: 1 if the coordinator is gone; from the coordinator itself, see `nodes.ending`.
      Exception: the node has failed.
    """
    # These take seconds to load, and read environment variables.
    from launch_programs.launching.node_process import run_node
    from launch_programs.nodes.coordinator_watch import CoordinatorWatch
    from launch_programs.nodes.ending import FINISHED
    from launch_programs.nodes.program import make_program, named_nodes

    name = f"{job}/{task}"
    nodes = named_nodes(make_program(cluster.run, RunDirectory(cluster.logdir)))
    bind(nodes, cluster, name)
    if job == "coordinator":
        try:
            run_node(nodes[name].function)
        except SystemExit as error:
            if error.code != FINISHED:
                raise
        print(f"{name}: ended", flush=True)
        return
    lost = False

    def watched() -> None:
        nonlocal lost
        watch = CoordinatorWatch(name, cluster.addresses["coordinator"][0])
        try:
            nodes[name].function()
        finally:
            watch.close()
            lost = watch.lost
        print(f"{name}: {'the program has ended' if watch.ended else 'stopped'}", flush=True)

    run_node(watched)
    if lost:
        sys.exit(1)


def _run_to_end(cluster: Cluster, job: str, task: int) -> NoReturn:
    """Runs the node and ends this process."""
    from launch_programs.launching.node_process import end_after

    def run() -> None:
        try:
            _run(cluster, job, task)
        except KeyboardInterrupt:
            at_start.end_interrupted()

    end_after(run)


def main(argv: list[str]) -> None:
    """Entry point; the exit code is 0 if the program ended as it should, 2 for bad input.

    A node that fails prints its traceback and exits with 1; a node whose coordinator is gone also
    exits with 1. The coordinator exits with 3 if the program had to end for a reason that would
    recur after a restart.
    """
    logging.set_verbosity(logging.WARNING)
    try:
        command_line.reject_positional_arguments(argv)
        cluster, job, task = _read_flags()
        check_localhost()
        _check_addresses(cluster, job, task)
        _set_environment(job)
        # Kept because the claim lasts only as long as this object.
        claimed = _claim(cluster) if job == "coordinator" else None  # noqa: F841
    except ValueError as error:
        command_line.fail(error)
    addresses = ", ".join(f"{name} {' '.join(cluster.addresses[name])}" for name in LISTENING)
    print(f"{job}/{task}: {addresses}", flush=True)
    _run_to_end(cluster, job, task)


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
