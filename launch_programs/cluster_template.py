"""Prepares a run whose nodes are started by hand, and prints the commands that start them.

    python -m launch_programs.cluster_template --logdir=/shared/runs/mine --hosts=host1,host2

Writes the run's configuration and the cluster file (cluster.py) into the run directory. The flags
are those of `train`; a directory that already contains a run resumes that run.
"""

import os
import re
import shlex
from collections.abc import Sequence

from absl import flags

from launch_programs.console import command_line
from launch_programs.launching.cluster import Cluster, read_cluster
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory, write_json
from launch_programs.settings import flags as run_flags
from launch_programs.settings import preparing
from launch_programs.settings.flags import define_run_flags
from launch_programs.settings.preparing import claim, describe, nothing_to_do, resolve_run

FLAGS = flags.FLAGS

_HOST = re.compile(r"[^\s:/\[\]]+|\[[0-9A-Fa-f:.]+\]")


def define_flags() -> None:
    """Defines the flags of this program."""
    define_run_flags()
    flags.adopt_module_key_flags(run_flags)  # so that --help shows them
    preparing.define_logdir_flag()
    flags.adopt_module_key_flags(preparing)
    flags.DEFINE_list(
        "hosts",
        ["localhost"],
        "Names or addresses by which the hosts reach each other. Coordinator and learner get the "
        "first one, queues the others in turn.",
    )
    flags.DEFINE_integer(
        "port",
        7000,
        "First port of each host. Without --hosts and --port, the addresses of an existing "
        "cluster file are kept.",
        lower_bound=1,
        upper_bound=2**16 - 1,
    )


def deal(config: RunConfig, hosts: Sequence[str], port: int) -> dict[str, tuple[str, ...]]:
    """Assigns addresses to the nodes that listen; coordinator and learner get the first host.

    Args:
      config: the run.
      hosts: host names.
      port: first port on each host.
    """
    next_port = dict.fromkeys(hosts, port)

    def address(host: str) -> str:
        next_port[host] += 1
        return f"{host}:{next_port[host] - 1}"

    # A queue in the learner's process is on the learner's host.
    others = hosts[1:] if config.num_queues and len(hosts) > 1 else hosts[:1]
    return {
        "coordinator": (address(hosts[0]),),
        "learner": (address(hosts[0]),),
        "queue": tuple(address(others[i % len(others)]) for i in range(max(1, config.num_queues))),
    }


def _make_cluster(config: RunConfig, directory: RunDirectory) -> Cluster:
    """The cluster described by the flags or, without them, by the existing file.

    Raises:
      ValueError: they do not describe a valid cluster.
    """
    logdir = directory.path.absolute()
    if directory.cluster.exists() and not (FLAGS["hosts"].present or FLAGS["port"].present):
        addresses = read_cluster(directory.cluster).addresses
        try:
            return Cluster(config, logdir, addresses)
        except ValueError as error:
            raise ValueError(
                f"{directory.cluster}: {error}; give --hosts for new addresses"
            ) from error
    hosts = FLAGS.hosts
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise ValueError(
                f"hosts: {host!r} is not a host; it must be a name or an address, without a port "
                "and an IPv6 address in brackets"
            )
    if not hosts or len(set(hosts)) < len(hosts):
        raise ValueError(f"hosts={','.join(hosts)!r}: must be one or several different hosts")
    return Cluster(config, logdir, deal(config, hosts, FLAGS.port))


def _write(cluster: Cluster, directory: RunDirectory) -> list[str]:
    """Writes the cluster file, keeps a backup if it changed, and returns lines saying so."""
    kept = []
    if directory.cluster.exists():
        before = directory.cluster.read_text()
        old = directory.cluster.with_name("cluster.json.old")
        write_json(directory.cluster, cluster.to_json())
        if directory.cluster.read_text() != before:
            old.write_text(before)
            kept = [f"  the cluster file before: {old}"]
    else:
        write_json(directory.cluster, cluster.to_json())
    return [f"  cluster file {directory.cluster}", *kept]


def commands(cluster: Cluster, path: str) -> list[str]:
    """The command that starts each node, prefixed with its host if it has a fixed one.

    Args:
      cluster: contents of the cluster file.
      path: path of the cluster file.
    """
    lines = []
    for job, count in cluster.num_nodes.items():
        for task in range(count):
            listens = cluster.listens_at(job, task)
            host = listens[0].rpartition(":")[0] if listens else "any host"
            lines.append(
                f"{host}: python -m launch_programs.run_node --cluster={shlex.quote(path)} "
                f"--job_name={job} --task={task}"
            )
    return lines


def main(argv: list[str]) -> int:
    """Entry point; returns the exit code, 2 for bad input."""
    command_line.set_up_process()
    try:
        command_line.reject_positional_arguments(argv)
        config, directory = resolve_run()
        resumed = directory.config.exists()
        if done := nothing_to_do(config, directory):
            print(done)
            return 0
        _make_cluster(config, directory)  # raises before anything is written
        directory, _, num_params = claim(config, directory)
        cluster = _make_cluster(config, directory)
        directory.write_launch("cluster_template", [])
        written = _write(cluster, directory)
    except (ValueError, OSError) as error:
        command_line.fail(error)
    print(describe(config, directory, num_params, resumed))
    print("\n".join(written))
    print("Start these within a minute, in any order; a host without the run directory needs a")
    print("copy of the cluster file:")
    print("\n".join(commands(cluster, os.fspath(directory.cluster.absolute()))))
    return 0


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
