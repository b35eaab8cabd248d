"""A peer's Python environment: made once from pinned requirements, by the pinned uv and pip."""

import fcntl
import hashlib
import os
import pathlib

from tools import bootstrap

ROOT = pathlib.Path(__file__).parents[2]
PYTHON_VERSION = "3.11"

# The peers, each with NAME.py, the program, and NAME.txt, its packages.
PEERS = ("sb3_ppo", "sample_factory")


def make(peer: str) -> pathlib.Path:
    """Makes .venv-peers/PEER, unless it is complete.

    pip does the installing, since it knows the user's settings: index, proxy, cache, constraints.

    Args:
      peer: one of `PEERS`.

    Returns:
      The path of its Python.

    Raises:
      tools.bootstrap.SetupError: it cannot be made; a sentence says why.
    """
    requirements = pathlib.Path(__file__).with_name(f"{peer}.txt")
    environment = ROOT / ".venv-peers" / peer
    python = environment / "bin" / "python"
    stamp = environment / "setup-complete"
    wanted = hashlib.sha256(requirements.read_bytes() + PYTHON_VERSION.encode()).hexdigest()
    environment.parent.mkdir(exist_ok=True)
    with (environment.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            print(f"Setting up the environment {environment}:", flush=True)
            os.makedirs(bootstrap.TOOLS, exist_ok=True)
            uv, _ = bootstrap.obtain_tools()
            bootstrap.run(
                [uv, "venv", "--quiet", "--no-project", "--clear", "--seed"]
                + ["--python", PYTHON_VERSION, str(environment)],
                f"The environment {environment} could not be made: it needs Python "
                f"{PYTHON_VERSION}.",
            )
            bootstrap.run(
                [str(python), "-m", "pip", "install", "--quiet", "-r", str(requirements)],
                f"The packages of {requirements.name} could not be installed.",
            )
            stamp.write_text(wanted)
    return python
