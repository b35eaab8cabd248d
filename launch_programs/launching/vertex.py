"""Launches the program on Vertex AI, with Launchpad's launcher and XManager.

Each node gets a machine. Launchpad pickles the nodes and groups those with equal machines into
worker pools; XManager builds an image for each pool and starts the job. This module adds the choice
of machines, and the image build, since plain pip cannot install this project.
"""

import functools
import importlib.metadata
import importlib.util
import os
import pathlib
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import launchpad as lp
from absl import flags

from launch_programs.launching.process_environments import process_environments
from launch_programs.run.failure_log import FailureLog
from launch_programs.run.run_config import RunConfig
from launch_programs.run.run_directory import RunDirectory

HELP = "on machines of Vertex AI, docs/vertex.md"
ON_THIS_MACHINE = False
HANDS_OVER = True

# GPUs for the learner, with XManager's names for them.
LEARNER_GPUS = {"t4": "t4", "v100": "v100", "l4": "l4_24th", "a100": "a100"}

# Name of the images and of the folder that Docker builds them from.
_IMAGE = "popart-impala"

_ROOT = pathlib.Path(__file__).parents[2]

# Files that the image's environment is built from. They are copied into the image first, so that
# pools and later launches share the environment's layer, which is most of the image.
_SET_UP = ("setup.cfg", "pyproject.toml", "README.md", "requirements*")


def define_flags() -> None:
    """Defines --vertex_learner_gpu."""
    flags.DEFINE_enum(
        "vertex_learner_gpu",
        None,
        list(LEARNER_GPUS),
        "GPU of the learner on Vertex AI; by default none.",
    )


def check(config: RunConfig, logdir: str) -> None:
    """Checks a launch's requirements before anything is built.

    Args:
      config: the run.
      logdir: the run directory, which this machine and the nodes must see at the same path.

    Raises:
      ValueError: something is missing; the message says how to get it.
    """
    if importlib.util.find_spec("xmanager") is None:
        raise ValueError(
            "Vertex AI needs XManager, which is not installed: run `make setup-vertex`"
        )
    import google.auth
    import google.auth.exceptions

    bucket = pathlib.Path(logdir).parts[:3]
    if bucket[:2] != ("/", "gcs") or not os.path.ismount(os.path.join(*bucket)):
        raise ValueError(
            f"logdir={logdir!r}: must be /gcs/BUCKET/..., as on the machines of Vertex "
            "AI, with the bucket mounted there: `gcsfuse BUCKET /gcs/BUCKET`"
        )
    try:
        _, project = google.auth.default()
    except google.auth.exceptions.DefaultCredentialsError as error:
        raise ValueError(
            "Vertex AI needs Google Cloud credentials: run `gcloud auth application-default "
            f"login` ({error})"
        ) from error
    if project is None:
        raise ValueError("Vertex AI needs a Google Cloud project: set GOOGLE_CLOUD_PROJECT")
    if not os.environ.get("GOOGLE_CLOUD_BUCKET_NAME"):
        raise ValueError(
            "Vertex AI needs a staging bucket: set GOOGLE_CLOUD_BUCKET_NAME to one in us-central1"
        )
    if config.num_queues == 0:
        raise ValueError(
            "num_queues=0: must be at least 1 with launch_type='vertex_ai': each node has one port "
            "there, so the learner's process has none for a queue"
        )


def prepare() -> None:
    """Does nothing."""


def run(directory: RunDirectory, failures: FailureLog, stop: threading.Event) -> bool:
    """Submits the job and returns at once; see `Backend`."""
    del failures, stop
    from launch_programs.nodes.program import make_program

    config = directory.read_config()
    environments = process_environments(config.cores_per_actor)
    launch(make_program(config, directory), environments["learner"], flags.FLAGS.vertex_learner_gpu)
    return False


def machines(learner_gpu: str | None) -> dict[str, Any]:
    """Each group's machine, as XManager requirements; equal ones form one pool.

    Args:
      learner_gpu: one of LEARNER_GPUS, or None for a learner on the CPU.
    """
    from xmanager import xm

    gpu = {LEARNER_GPUS[learner_gpu]: 1} if learner_gpu else {}
    small = xm.JobRequirements(cpu=2, ram=13 * xm.GiB)  # n1-highmem-2
    return {
        "coordinator": small,
        "learner": xm.JobRequirements(cpu=8, ram=30 * xm.GiB, **gpu),  # n1-standard-8, or the GPU's
        "queue": small,
        "actor": xm.JobRequirements(cpu=4, ram=15 * xm.GiB),  # n1-standard-4
        "evaluator": small,
    }


def launch(
    program: lp.Program, learner_environment: Mapping[str, str], learner_gpu: str | None = None
) -> None:
    """Builds the images and starts the job; returns once it is submitted.

    Args:
      program: the program; its queues must be nodes of their own.
      learner_environment: environment variables for the learner.
      learner_gpu: one of LEARNER_GPUS, or None for a learner on the CPU.

    Raises:
      ValueError: a node needs more than one port.
    """
    for group, nodes in program.groups.items():
        if any(len(node.addresses) > 1 for node in nodes):
            raise ValueError(
                f"Vertex AI gives each node one port, and one of the group {group!r} needs more: "
                "give the queues processes of their own"
            )
    from launchpad.nodes.python.xm_docker import DockerConfig

    with tempfile.TemporaryDirectory() as code:
        for name in ("agents", "environments", "launch_programs", "tools", "contrib"):
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(_ROOT / name, pathlib.Path(code, name), ignore=ignore)
        for path in [path for pattern in _SET_UP for path in _ROOT.glob(pattern)]:
            shutil.copy(path, code)
        resources = {}
        for group, machine in machines(learner_gpu).items():
            # Launchpad wants a requirements file; the image's environment is not built from it.
            resources[group] = DockerConfig(code, str(_ROOT / "requirements.in"), machine)
            learns = group == "learner"
            for node in program.groups.get(group, []):
                node.to_executables = functools.partial(
                    _to_executables,
                    environment=learner_environment if learns else {},
                    gpu=learns and learner_gpu is not None,
                )
        lp.launch(program, launch_type=lp.LaunchType.VERTEX_AI, xm_resources=resources)


def _to_executables(
    nodes: Sequence[Any], label: str, context: Any, *, environment: Mapping[str, str], gpu: bool
) -> list[tuple[Any, Any]]:
    """Replaces a node's `to_executables`: Launchpad's, with this project's image build."""
    [(container, requirements)] = type(nodes[0]).to_executables(nodes, label, context)
    # Launchpad's folder gets a new name each time, which would defeat Docker's cache.
    files = list(pathlib.Path(container.path).iterdir())
    staged = pathlib.Path(container.path, _IMAGE)
    staged.mkdir()
    for file in files:
        file.rename(staged / file.name)
    container.path = str(staged)
    install = "python3 tools/bootstrap.py vertex"
    if gpu:
        jax = f"jax[cuda12]=={importlib.metadata.version('jax')}"
        install += f" && .venv-tools/uv-* pip install --python .venv/bin/python '{jax}'"
        # Asks the machine for its GPU driver, as NVIDIA's own images do.
        nvidia = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
        environment = {**environment, **nvidia, "LD_LIBRARY_PATH": "/usr/local/nvidia/lib64"}
    container.base_image = "python:3.10-slim"
    container.docker_instructions = [
        "WORKDIR /app",
        f"COPY {_IMAGE}/tools tools",
        f"COPY {_IMAGE}/contrib contrib",
        f"COPY {' '.join(f'{_IMAGE}/{pattern}' for pattern in _SET_UP)} ./",
        "ENV UV_NO_CACHE=1 PIP_NO_CACHE_DIR=1",
        f"RUN {install} && rm -rf .venv-tools",
        f"COPY {_IMAGE} ./",
        "ENV PATH=/app/.venv/bin:$PATH",
        *(f"ENV {name}={value}" for name, value in environment.items()),
    ]
    return [(container, requirements)]
