"""Private networks, with real namespaces."""

import pathlib
import socket
import subprocess
import sys

import pytest

from launch_programs.launching import private_network

ROOT = pathlib.Path(private_network.__file__).parents[2]

# From inside, serves on a port of all interfaces and connects to it.
INSIDE = """
import os, socket
from launch_programs.launching import private_network
before = os.getuid()
private_network.enter()
assert os.getuid() == before
assert [name for _, name in socket.if_nameindex()] == ["lo"]
for family, anything, host in (
    (socket.AF_INET, "0.0.0.0", "127.0.0.1"), (socket.AF_INET6, "::", "::1")
):
    with socket.socket(family) as server:
        server.bind((anything, 0))
        server.listen()
        with socket.create_connection((host, server.getsockname()[1]), timeout=5):
            pass
server = socket.create_server(("0.0.0.0", 0))
print(server.getsockname()[1], flush=True)
input()
"""


def allowed() -> bool:
    program = "from launch_programs.launching import private_network; private_network.enter()"
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


def test_nobody_else_reaches_it() -> None:
    if not allowed():
        pytest.skip("this system does not allow network namespaces")
    with subprocess.Popen(
        [sys.executable, "-c", INSIDE],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        line = process.stdout.readline()
        assert line, "it failed, see above"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(line)), timeout=5)
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait(10) == 0


def test_a_system_that_forbids_it_says_why() -> None:
    """A process with threads cannot enter a new user namespace, nor can any without rights."""
    program = (
        "import ctypes, threading, os\n"
        "from launch_programs.launching import private_network\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "try: private_network.enter()\n"
        "except OSError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "unshare: " in done.stdout
