"""Starts a node's process on this host; imports little, since Ray has it beside every node."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import IO


def start_node(
    name: str, node: bytes, environment: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """Starts a node; it stops when this process dies (node_process.py).

    Args:
      name: of the node, such as "actor/3"; shown by `ps`.
      node: its function, pickled.
      environment: variables that its process has besides this one's.

    Returns:
      Its process, and the pipe through which comes what it prints. Not a file: an environment that
      prints at every step would fill the disk, and a full disk would hide why a node died.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "launch_programs.launching.node_process", name],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # it has died already, as its exit code will tell
        process.stdin.write(node)
        process.stdin.flush()
    return process, process.stdout
