"""Records what a run was trained with: provenance.json has an entry per start of the learner."""

import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import time
from typing import Any

import jax
import psutil

from launch_programs.run.run_directory import RunDirectory, write_json

_ROOT = pathlib.Path(__file__).resolve().parents[2]

# Packages that can affect results or speed.
PACKAGES = (
    "dm-acme",
    "dm-launchpad-nightly",
    "dm-reverb",
    "tensorflow-cpu",
    "jax",
    "jaxlib",
    "jax-cuda12-plugin",
    "dm-haiku",
    "optax",
    "rlax",
    "distrax",
    "chex",
    "numpy",
    "orbax-checkpoint",
    "dm-env",
    "ale-py",
    "gymnasium",
    "bsuite",
)

_FIELDS = {"time", "frames", "code", "python", "packages", "machine"}  # of every entry


def record(directory: RunDirectory, frames: int) -> None:
    """Adds an entry on this process's machine, packages and code.

    Args:
      directory: directory of the run.
      frames: environment frames learned from before this start.

    Raises:
      ValueError: the file is damaged; it is left unchanged.
      OSError: the file cannot be read or written.
    """
    entries = read(directory)
    write_json(directory.provenance, [*entries, describe(frames)])


def read(directory: RunDirectory) -> list[dict[str, Any]]:
    """The entries of a run, oldest first; none if it was trained by an earlier version.

    Raises:
      ValueError: the file is damaged.
      OSError: the file cannot be read.
    """
    try:
        entries = json.loads(directory.provenance.read_text())
    except FileNotFoundError:
        return []
    except ValueError as error:  # neither UTF-8 nor JSON
        raise ValueError(f"{directory.provenance} is damaged: {error}") from error
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and entry.keys() >= _FIELDS for entry in entries
    ):
        raise ValueError(
            f"{directory.provenance} is damaged: it must be a list of objects with "
            f"{', '.join(sorted(_FIELDS))}"
        )
    return entries


def describe(frames: int) -> dict[str, Any]:
    """An entry for the present time and process, as JSON values.

    Args:
      frames: environment frames learned from before this start.
    """
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "frames": frames,
        "code": code(_ROOT),
        "python": platform.python_version(),
        "packages": _versions(),
        "machine": {
            "system": _system(),
            "cpu": _cpu(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "accelerators": [
                device.device_kind for device in jax.local_devices() if device.platform != "cpu"
            ],
        },
    }


def code(root: pathlib.Path) -> dict[str, Any]:
    """Identifies the code that runs: {"commit", "modified"}, or {"unknown": why}.

    Args:
      root: directory that contains the project's packages.

    Returns:
      The commit's hash, and whether tracked files differ from it.
    """

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
            timeout=30,
        )
        return done.stdout.strip()

    try:
        # Code installed into an environment inside another repository is not that repository's.
        if pathlib.Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return {"unknown": "installed without git"}
        return {
            "commit": git("rev-parse", "HEAD"),
            "modified": git("status", "--porcelain", "--untracked-files=no") != "",
        }
    except FileNotFoundError:
        return {"unknown": "git is not installed"}
    except subprocess.TimeoutExpired:
        return {"unknown": "git gives no answer"}
    except subprocess.CalledProcessError as error:
        cause = " ".join(error.stderr.split())
        if "not a git repository" in cause:
            cause = "installed without git"
        return {"unknown": cause}


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _system() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = platform.system()
    return f"{name}, {platform.system()} {platform.release()}, {platform.machine()}"


def _cpu() -> str:
    """The processor's name; "" if the system does not report one."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
