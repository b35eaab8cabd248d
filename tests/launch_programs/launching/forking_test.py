"""Nodes as forks of a process that has imported what they need."""

import gc
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.context import ForkServerProcess

import cloudpickle
import psutil
import pytest

from launch_programs.launching import forking
from launch_programs.launching.process_environments import process_environments


@pytest.fixture(scope="module", autouse=True)
def fork_server() -> Iterator[None]:
    """Starts the process that is forked; restores the environment afterwards."""
    before = dict(os.environ)
    forking.prepare({"FOR_ALL_NODES": "yes"})
    yield
    os.environ.clear()
    os.environ.update(before)


def run(
    function: Callable[[], object], environment: Mapping[str, str] | None = None
) -> tuple[ForkServerProcess, str]:
    """Runs a node to its end; returns its process and its output."""
    process, output = forking.fork_node("actor/3", cloudpickle.dumps(function), environment or {})
    with output:
        text = output.read().decode()
    process.join(60)
    return process, text


def test_what_it_prints_and_how_it_ends() -> None:
    def node() -> None:
        print("printed")
        os.write(2, b"written\n")
        raise SystemExit(4)

    process, output = run(node)
    assert (process.exitcode, sorted(output.splitlines())) == (4, ["printed", "written"])

    def failing() -> None:
        raise ArithmeticError("broken")

    process, output = run(failing)
    assert process.exitcode == 1
    assert output.splitlines()[0].startswith("Traceback")
    assert output.splitlines()[-1] == "ArithmeticError: broken"

    process, _ = run(lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert process.exitcode == -signal.SIGKILL


def double(number: int) -> tuple[int, bool]:
    return 2 * number, "reverb" in sys.modules


def fail() -> None:
    raise LookupError


def test_calls() -> None:
    assert forking.call(double, 21) == (42, True)
    with pytest.raises(ChildProcessError, match="^fail: ended with exit code 1$"):
        forking.call(fail)


def collector() -> tuple[bool, int]:
    return gc.isenabled(), gc.get_freeze_count()


def test_the_garbage_collector_leaves_alone_what_was_imported() -> None:
    enabled, kept = forking.call(collector)
    assert enabled
    assert kept > 100_000


def test_what_cannot_be_unpickled_is_told() -> None:
    process, output = forking.fork_node("actor/0", b"no pickle", {})
    with output:
        text = output.read().decode()
    process.join(60)
    assert process.exitcode == 1
    assert "UnpicklingError" in text


def test_the_process_has_the_nodes_name_and_nothing_to_import() -> None:
    def node() -> None:
        print(psutil.Process().name())
        print([name in sys.modules for name in ("tensorflow", "reverb", "jax", "haiku", "acme")])

    assert run(node)[1].splitlines() == ["actor/3", str([True] * 5)]


def test_the_forked_process_has_one_thread_and_no_backend() -> None:
    """Locks that another thread holds at a fork stay locked in the child for ever."""

    def node() -> None:
        from jax._src import xla_bridge

        print(len(psutil.Process(os.getppid()).threads()), xla_bridge.backends_are_initialized())

    assert run(node)[1].split() == ["1", "False"]


def test_environment_variables_count_although_libraries_are_loaded() -> None:
    def node() -> None:
        import jax

        print(os.environ["FOR_ALL_NODES"], os.environ["NPROC"], jax.config.values["jax_platforms"])
        assert jax.devices()[0].platform == "cpu"

    environment = process_environments(1)["actor"]
    assert environment["JAX_PLATFORMS"] == "cpu"
    assert run(node, environment)[1].split() == ["yes", "1", "cpu"]


def test_the_learners_heap_is_one_and_is_kept() -> None:
    """Large arrays come from the heap, not from fresh pages."""

    def node() -> None:
        import re

        import numpy as np

        large = np.ones(2**26, np.uint8)  # far above malloc's threshold for mmap
        address = large.ctypes.data
        for line in pathlib.Path("/proc/self/maps").read_text().splitlines():
            begin, end = (int(x, 16) for x in re.split("[- ]", line)[:2])
            if begin <= address < end:
                print(line.split()[-1])
        size = psutil.Process().memory_info().rss
        del large
        print(size - psutil.Process().memory_info().rss < 2**25)

    assert run(node, process_environments(1)["learner"])[1].split() == ["[heap]", "True"]
    assert run(node, process_environments(1)["actor"])[1].split() != ["[heap]", "True"]


def test_forks_differ_in_numpys_random_numbers() -> None:
    def node() -> None:
        import random

        import numpy as np

        print(np.random.random(), random.random())

    first, second = (run(node)[1].split() for _ in range(2))
    assert first[0] != second[0]
    assert first[1] != second[1]


@pytest.mark.slow
def test_a_node_ends_with_its_launcher(tmp_path: pathlib.Path) -> None:
    """The launcher is killed, so it cannot tell its nodes."""
    program = tmp_path / "launcher.py"
    program.write_text(
        "import time, cloudpickle\n"
        "from launch_programs.launching import forking\n"
        "if __name__ == '__main__':\n"
        "    forking.prepare({})\n"
        "    node = cloudpickle.dumps(lambda: time.sleep(600))\n"
        "    process, output = forking.fork_node('actor/7', node, {})\n"
        "    print(process.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE) as launcher:
        assert launcher.stdout is not None
        node = psutil.Process(int(launcher.stdout.readline()))
        end = time.monotonic() + 60
        while node.name() != "actor/7" and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.5)  # until it runs
        launcher.kill()
        psutil.wait_procs([node], timeout=30)
        assert not node.is_running()


def test_a_directory_that_takes_no_socket(tmp_path: pathlib.Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    program = (
        "from launch_programs.launching import forking\n"
        "try:\n"
        "    forking.prepare({})\n"
        "except OSError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "TMPDIR": str(long)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"TMPDIR={long}, which must be writable and at most 70" in done.stdout
