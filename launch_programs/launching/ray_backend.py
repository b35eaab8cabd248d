"""Flags and checks of `--launch_type=ray`; importing it needs no Ray, which is an extra."""

import importlib.util
import logging
import os
import pathlib
import signal
import socket
import threading
from collections.abc import Mapping, Sequence

from absl import flags

from launch_programs.nodes.groups import GROUPS
from launch_programs.run.failure_log import FailureLog
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory

FLAGS = flags.FLAGS

HELP = "as processes on the hosts of a Ray cluster, docs/cluster.md"
ON_THIS_MACHINE = False
HANDS_OVER = False

# Default resource request of a node, by group.
DEFAULT_RESOURCES: Mapping[str, Mapping[str, float]] = {
    name: {"CPU": group.cpus} for name, group in GROUPS.items()
}

_ADDRESSES = (
    "it must be auto, local, or HOST:PORT of the head of a cluster that this machine belongs to "
    "(`ray start --address=HOST:PORT`)"
)


def define_address(default: str) -> None:
    """Defines --ray_address."""
    flags.DEFINE_string(
        "ray_address",
        default,
        "Ray cluster: HOST:PORT of its head, auto for the one that this machine belongs to, local "
        "for a new one of this machine only.",
    )


def define_flags() -> None:
    """Defines --ray_address and --ray_resources."""
    define_address("auto")
    flags.DEFINE_multi_string(
        "ray_resources",
        [],
        "Resources that each node of a group requests, such as learner:CPU=4,GPU=1; any resource "
        "of the cluster. Groups: coordinator (on this machine), learner, queue, actor, "
        "evaluator; by default CPU=1, for the coordinator CPU=0.",
    )


def check(config: RunConfig, logdir: str) -> None:
    """Checks that Ray is installed, and the resources and the address.

    Raises:
      ValueError: Ray is not installed, or a flag is wrong.
    """
    del config, logdir
    if importlib.util.find_spec("ray") is None:
        raise ValueError("launch_type='ray': needs the package ray: install the extra [ray]")
    parse_resources(FLAGS.ray_resources)
    check_address(FLAGS.ray_address)


def prepare() -> None:
    """Lets Ray send its token, if there is one, to clusters that require it.

    `ray start` requires the token as soon as one exists, but a program sends it only if told to
    before it imports Ray. A cluster that requires none ignores it.
    """
    file = pathlib.Path("~/.ray/auth_token").expanduser()
    if {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ) or file.exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def run(directory: RunDirectory, failures: FailureLog, stop: threading.Event) -> bool:
    """Runs the program; see `Backend`."""
    from launch_programs.launching import ray_launch
    from launch_programs.nodes.program import make_program

    handler = signal.getsignal(signal.SIGTERM)
    connect(FLAGS.ray_address)
    signal.signal(signal.SIGTERM, handler)  # not Ray's own
    return ray_launch.run(
        lambda: make_program(directory.read_config(), directory),
        parse_resources(FLAGS.ray_resources),
        directory.logs.absolute(),
        FLAGS.max_restarts,
        failures,
        stop,
    )


def parse_resources(values: Sequence[str]) -> dict[str, dict[str, float]]:
    """Parses what the nodes of each group ask of a Ray host.

    Args:
      values: such as "learner:CPU=4,GPU=1", which replaces that group's default.

    Raises:
      ValueError: a value is malformed, or names a group that does not exist.
    """
    resources = {group: dict(amounts) for group, amounts in DEFAULT_RESOURCES.items()}
    for value in values:
        group, _, rest = value.partition(":")
        amounts = parse_amounts(rest)
        if group not in resources or amounts is None:
            raise ValueError(
                f"ray_resources={value!r}: must be GROUP:NAME=AMOUNT[,NAME=AMOUNT...], such as "
                f"learner:CPU=4,GPU=1; groups are {', '.join(resources)}"
            )
        resources[group] = amounts
    return resources


def parse_amounts(text: str) -> dict[str, float] | None:
    """Parses amounts asked of a Ray host, such as "CPU=4,GPU=1"; None if malformed."""
    amounts = {}
    for part in text.split(","):
        name, _, amount = part.partition("=")
        try:
            amounts[name] = float(amount)
        except ValueError:
            return None
        if not name or not 0 <= amounts[name] < float("inf"):
            return None
    return amounts


def check_address(address: str) -> None:
    """Checks that something listens at a cluster's address, before anything is started.

    Raises:
      ValueError: nothing listens there, or it is not of the form HOST:PORT.
    """
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ValueError(f"ray_address={address!r}: {error}; {_ADDRESSES}") from error


def connect(address: str) -> None:
    """Joins the cluster.

    Args:
      address: "HOST:PORT" of its head, "auto" for the cluster that this machine belongs to, or
        "local" for a new one on this machine only.

    Raises:
      ConnectionError: there is no cluster at the address.
    """
    import ray

    try:
        ray.init(
            address=address,
            log_to_driver=False,  # keepers deliver the nodes' output
            include_dashboard=False if address == "local" else None,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConnectionError(f"ray_address={address!r}: {error}; {_ADDRESSES}") from error
