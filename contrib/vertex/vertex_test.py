"""Vertex AI: everything up to the upload, then the uploaded nodes as Vertex AI would run them.

`make test-by-hand` runs these. Docker and Google Cloud are stand-ins (launch_with_stand_ins.py);
Launchpad and XManager are real.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from launch_programs.launching import vertex
from launch_programs.run.checkpointing import Checkpointer
from launch_programs.run.metrics import read_rows
from launch_programs.run.run_directory import RunDirectory
from launch_programs.settings.flags import define_run_flags, resolve
from tests.launch_programs.command_lines import given
from tests.launch_programs.runs import CONFIG

ROOT = pathlib.Path(__file__).parents[2]

RUN = dataclasses.replace(CONFIG, num_queues=1)

FRAMES = 32 * 20 * 10  # of the toy suite's updates

# In the coordinator's process: stands in for Google's response when the program stops itself.
FAKE_JOB = """
from google.cloud import aiplatform

class Job:
    def __init__(self, name):
        self.name = name

    def cancel(self):
        with open({path!r}, "w") as file:
            file.write(self.name)

aiplatform.CustomJob.get = Job
"""


class Launched(NamedTuple):
    """What a launch would have uploaded."""

    directory: RunDirectory
    pools: list[dict[str, Any]]  # of the job's request
    images: list[pathlib.Path]  # what Docker would build the pools' images from

    def environment(self, pool: int) -> dict[str, str]:
        """Variables that a pool's image sets, without PATH."""
        lines = (self.images[pool] / "Dockerfile").read_text().splitlines()
        pairs = [pair for line in lines if line.startswith("ENV ") for pair in line[4:].split()]
        variables = dict(pair.split("=", 1) for pair in pairs)
        del variables["PATH"]
        return variables


def cloud_account(folder: pathlib.Path) -> dict[str, str]:
    """Environment variables of a Google Cloud user who does not exist."""
    credentials = folder / "credentials.json"
    secrets = {"client_id": "id", "client_secret": "secret", "refresh_token": "token"}
    credentials.write_text(json.dumps({"type": "authorized_user", **secrets}))
    return {
        "GOOGLE_APPLICATION_CREDENTIALS": str(credentials),
        "GOOGLE_CLOUD_PROJECT": "project",
        "GOOGLE_CLOUD_BUCKET_NAME": "bucket",
    }


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Launched:
    """A toy run of two actors, two queues and an evaluator."""
    folder = tmp_path_factory.mktemp("vertex")
    toy = ["--level_name=toy", "--num_actors=2", "--num_queues=2", "--log_interval=0.2"]
    toy += [f"--total_environment_frames={FRAMES}", "--evaluation_interval=1000"]
    with given(define_run_flags, *toy):
        config = resolve(None)
    directory = RunDirectory(folder / "run")
    directory.create()
    directory.write_config(config)
    output = folder / "output"
    output.mkdir()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "contrib.vertex.launch_with_stand_ins",
            directory.path,
            output,
            "t4",
        ],
        cwd=ROOT,
        # XManager keeps its list of experiments in the home directory.
        env={**os.environ, **cloud_account(folder), "HOME": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pools = json.loads((output / "job.json").read_text())["jobSpec"]["workerPoolSpecs"]
    tags = [pool["containerSpec"]["imageUri"].rpartition(":")[2] for pool in pools]
    return Launched(directory, pools, [output / tag for tag in tags])


def test_the_learner_is_the_first_pool_and_others_share_machines(launched: Launched) -> None:
    machines = [pool["machineSpec"]["machineType"] for pool in launched.pools]
    assert machines == ["n1-standard-8", "n1-highmem-2", "n1-standard-4"]
    # The learner; coordinator, two queues and evaluator; two actors.
    assert [int(pool["replicaCount"]) for pool in launched.pools] == [1, 4, 2]
    assert [pool["machineSpec"]["acceleratorCount"] for pool in launched.pools] == [1, 0, 0]


def test_images_have_the_project_and_its_own_set_up(launched: Launched) -> None:
    for image in launched.images:
        staged = image / "popart-impala"
        for file in (
            "job.pkl",
            "process_entry.py",
            "agents",
            "launch_programs/launching/vertex.py",
        ):
            assert (staged / file).exists()
        assert not (staged / ".venv").exists()
        dockerfile = (image / "Dockerfile").read_text()
        assert "RUN python3 tools/bootstrap.py vertex && " in dockerfile
        assert "pip install -r" not in dockerfile
        for line in dockerfile.splitlines():
            if line.startswith("COPY "):
                *sources, _ = [word for word in line.split()[1:] if not word.startswith("--")]
                assert all(list(image.glob(source)) for source in sources), line
        entry = (image / "entrypoint.sh").read_text().splitlines()[-2:]
        assert entry[-1] == 'python -m process_entry --data_file=job.pkl "$@"'


def test_images_differ_after_the_layer_of_the_environment_only(launched: Launched) -> None:
    layers = [
        (image / "Dockerfile").read_text().partition("COPY popart-impala ./")[0]
        for image in launched.images
    ]
    assert layers[0] != layers[1] == layers[2]  # the learner's has the GPU's packages


def test_only_the_learner_gets_the_gpu_and_its_variables(launched: Launched) -> None:
    dockerfiles = [(image / "Dockerfile").read_text() for image in launched.images]
    assert ["jax[cuda12]==" in text for text in dockerfiles] == [True, False, False]
    assert launched.environment(0)["MALLOC_ARENA_MAX"] == "1"
    assert "MALLOC_ARENA_MAX" not in launched.environment(2)


@pytest.mark.filterwarnings("ignore:You are using a non-supported Python version")
@pytest.mark.parametrize(
    ("gpu", "machine"),
    [
        (None, "n1-standard-8"),
        ("t4", "n1-standard-8"),
        ("v100", "n1-standard-8"),
        ("l4", "g2-standard-8"),
        ("a100", "a2-highgpu-1g"),
    ],
)
def test_every_gpu_has_a_machine(gpu: str | None, machine: str) -> None:
    from xmanager import xm, xm_local
    from xmanager.cloud import vertex as xm_vertex

    executor = xm_local.Caip(requirements=vertex.machines(gpu)["learner"])
    spec = xm_vertex.get_machine_spec(xm.Job(executable=None, executor=executor))
    assert spec["machine_type"] == machine
    assert spec.get("accelerator_count", 0) == (gpu is not None)


@pytest.mark.parametrize(
    ("logdir", "changed", "message"),
    [
        ("runs/toy", {}, "logdir='runs/toy': must be /gcs/BUCKET/"),
        ("/gcs/c/run", {}, "logdir='/gcs/c/run': must be .* mounted there"),
        ("/gcs/b/run", {"GOOGLE_APPLICATION_CREDENTIALS": "/none"}, "application-default login"),
        ("/gcs/b/run", {"GOOGLE_CLOUD_PROJECT": ""}, "set GOOGLE_CLOUD_PROJECT"),
        ("/gcs/b/run", {"GOOGLE_CLOUD_BUCKET_NAME": ""}, "set GOOGLE_CLOUD_BUCKET_NAME"),
    ],
)
def test_what_is_missing_is_named(
    logdir: str,
    changed: dict[str, str],
    message: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: path == "/gcs/b")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))  # no settings of this machine's user
    for name, value in {**cloud_account(tmp_path), **changed}.items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=message):
        vertex.check(RUN, logdir)


def test_a_complete_account_is_accepted(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: path == "/gcs/b")
    for name, value in cloud_account(tmp_path).items():
        monkeypatch.setenv(name, value)
    vertex.check(RUN, "/gcs/b/run")
    with pytest.raises(ValueError, match="^num_queues=0: must be at least 1 with"):
        vertex.check(dataclasses.replace(RUN, num_queues=0), "/gcs/b/run")


def free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def running(launched: Launched, folder: pathlib.Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Every node's process with its container's command, folder and variables."""
    fakes = folder / "fakes"
    fakes.mkdir()
    (fakes / "sitecustomize.py").write_text(FAKE_JOB.format(path=str(folder / "cancelled")))
    replicas = [int(pool["replicaCount"]) for pool in launched.pools]
    ports = iter(free_ports(sum(replicas)))
    cluster = {
        f"workerpool{pool}": [f"127.0.0.1:{next(ports)}" for _ in range(number)]
        for pool, number in enumerate(replicas)
    }
    environment = {
        **os.environ,
        **cloud_account(folder),
        "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
        "JAX_PLATFORMS": "cpu",  # the nodes share this machine
        "CLOUD_ML_PROJECT_ID": "project",
        "CLOUD_ML_JOB_ID": "123",
        "PYTHONPATH": str(fakes),
    }
    processes = []
    try:
        for pool, (number, image) in enumerate(zip(replicas, launched.images, strict=True)):
            for index in range(number):
                task = {"type": f"workerpool{pool}", "index": index}
                spec = {"cluster": cluster, "environment": "cloud", "task": task}
                with (folder / f"workerpool{pool}-{index}").open("wb") as log:
                    process = subprocess.Popen(
                        ["bash", image / "entrypoint.sh"],
                        cwd=image / "popart-impala",
                        env={
                            **environment,
                            **launched.environment(pool),
                            "CLUSTER_SPEC": json.dumps(spec),
                        },
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                processes.append(process)
        yield processes
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_the_uploaded_nodes_train_and_end_the_job(
    launched: Launched, tmp_path: pathlib.Path
) -> None:
    cancelled = tmp_path / "cancelled"
    with running(launched, tmp_path) as processes:
        deadline = time.monotonic() + 240
        while not cancelled.exists():
            output = {path.name: path.read_text() for path in tmp_path.glob("workerpool*")}
            assert all(process.poll() is None for process in processes), output
            assert time.monotonic() < deadline, output
            time.sleep(0.2)
        assert cancelled.read_text() == "123"
        # This is how Vertex AI ends a cancelled job's containers.
        for process in processes:
            os.killpg(process.pid, signal.SIGTERM)
        for process in processes:
            process.wait(timeout=15)
    rows = read_rows(launched.directory.path / "learner.csv")
    assert 0 < int(rows[-1]["frames"]) <= FRAMES
    policy = Checkpointer(launched.directory.checkpoints, read_only=True).restore_policy()
    assert policy is not None and policy.frames == FRAMES
