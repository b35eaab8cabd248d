"""Starts nodes on this machine by forking a process that has already imported what they need.

Importing TensorFlow (which Reverb links to), JAX and the rest takes four seconds of CPU time per
process: for the five processes of a small program on 2 cores, most of the start-up time. So one
process imports them, and every node is a fork of it (`multiprocessing`'s fork server). That process
does nothing else: it has one thread, has no connections and has not started XLA, which would not
survive a fork.
"""

import ctypes
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import IO, TypeVar

import cloudpickle

_CONTEXT = multiprocessing.get_context("forkserver")

_T = TypeVar("_T")

# OpenBLAS starts its threads when it is loaded, by default one per core. Nodes multiply matrices in
# XLA, not in NumPy.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}

# The C library read these variables long before the fork; these mallopt codes (<malloc.h>) set the
# same options.
_MALLOPT = {"MALLOC_ARENA_MAX": -8, "MALLOC_MMAP_MAX_": -4, "MALLOC_TRIM_THRESHOLD_": -1}


def prepare(environment: Mapping[str, str]) -> None:
    """Starts the fork server, which imports while the caller continues.

    Args:
      environment: variables that all nodes have in addition to this process's.

    Raises:
      OSError: it cannot be started; the message says what would help.
    """
    os.environ.update({**_ONE_THREAD, **environment})
    _CONTEXT.set_forkserver_preload(["launch_programs.launching.preloading"])
    try:
        forkserver.ensure_running()
    except OSError as error:
        directory = os.environ.get("TMPDIR", "/tmp")
        raise OSError(
            f"the process that nodes are forked from cannot be started: {error}; its socket lies "
            f"in TMPDIR={directory}, which must be writable and at most 70 characters long"
        ) from error


def call(function: Callable[..., _T], *arguments: object) -> _T:
    """Calls a function in a fork, where the nodes' imports are loaded, and returns its result.

    Args:
      function: a module-level function; its output goes where this process's output goes.
      *arguments: arguments of the function; they and its result must be picklable.

    Raises:
      ChildProcessError: the function did not return; a traceback says why.
    """
    reader, writer = _CONTEXT.Pipe(duplex=False)
    with reader:
        with writer:
            process = _CONTEXT.Process(target=_reply, args=(writer, function, arguments))
            process.start()
        try:
            result: _T = reader.recv()
        except EOFError as error:
            process.join()
            raise ChildProcessError(
                f"{function.__name__}: ended with exit code {process.exitcode}"
            ) from error
    process.join()
    return result


def _reply(
    writer: Connection, function: Callable[..., object], arguments: Sequence[object]
) -> None:
    writer.send(function(*arguments))


def fork_node(
    name: str, node: bytes, environment: Mapping[str, str]
) -> tuple[ForkServerProcess, IO[bytes]]:
    """Starts a node that stops when this process dies (node_process.py).

    Args:
      name: name of the node, such as "actor/3".
      node: its function, pickled.
      environment: variables that its process has in addition to this one's.

    Returns:
      The node's process, and a pipe with its output. Not a file: an environment that prints at
      every step would fill the disk, and a full disk would hide why a node died.
    """
    reader, writer = os.pipe()
    with Connection(writer, readable=False) as output:
        process = _CONTEXT.Process(
            target=_run, name=name, args=(name, node, dict(environment), output)
        )
        process.start()
    return process, os.fdopen(reader, "rb", buffering=0)


def _run(name: str, node: bytes, environment: dict[str, str], output: Connection) -> None:
    """Runs a node in the forked process."""
    with output:
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
    _set_environment(environment)

    import numpy as np

    from launch_programs.launching.node_process import run_to_end

    np.random.seed()  # all forks inherit the same state, and environments may use it
    launcher = multiprocessing.parent_process()
    assert launcher is not None
    run_to_end(name, lambda: cloudpickle.loads(node), launcher.join)


def _set_environment(environment: Mapping[str, str]) -> None:
    """Sets variables, and applies those that libraries have already read."""
    os.environ.update(environment)
    if "JAX_PLATFORMS" in environment:
        import jax

        jax.config.update("jax_platforms", environment["JAX_PLATFORMS"])
    for variable, number in _MALLOPT.items():
        if variable in environment:
            ctypes.CDLL(None).mallopt(number, int(environment[variable]))
