"""Starts a node's process on this host; imports little, since every keeper on Ray loads it."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import IO


def start_node(
    name: str, node: bytes, environment: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """Starts a node that stops when this process dies (node_process.py).

    Args:
      name: name of the node, such as "actor/3"; shown by `ps`.
      node: its function, pickled.
      environment: variables that its process has in addition to this one's.

    Returns:
      The node's process, and a pipe with its output. Not a file: an environment that prints at
      every step would fill the disk, and a full disk would hide why a node died.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "launch_programs.launching.node_process", name],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # it has already died; its exit code will show that
        process.stdin.write(node)
        process.stdin.flush()
    return process, process.stdout
