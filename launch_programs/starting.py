"""Starts a node's process on this host; imports little, since Ray has it beside every node."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import IO


def start_node(
    name: str, node: bytes, environment: Mapping[str, str], output: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Starts a node; it stops when this process dies (node_process.py).

    Args:
      name: of the node, such as "actor/3"; shown by `ps`.
      node: its function, pickled.
      environment: variables that its process has besides this one's.
      output: file for what it prints.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "launch_programs.node_process", name],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has died already, as its exit code will tell
        process.stdin.write(node)
        process.stdin.flush()
    return process
