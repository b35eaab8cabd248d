"""Which node runs, with what, and what is refused before it starts."""

import json
import os
import pathlib
import socket
from collections.abc import Callable
from typing import Any

import pytest

from launch_programs import run_node
from launch_programs.launching.cluster import Cluster
from launch_programs.run.run_directory import RunDirectory
from tests.integration.programs import run
from tests.launch_programs.command_lines import given, one_line, refused
from tests.launch_programs.runs import CONFIG


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    """A cluster file with free ports, on this machine and on another."""
    free = []
    for _ in range(3):
        with socket.create_server(("", 0)) as server:
            free.append(server.getsockname()[1])
    cluster = Cluster(
        CONFIG,
        tmp_path / "run",
        {
            "coordinator": (f"localhost:{free[0]}",),
            "learner": (f"203.0.113.9:{free[1]}",),  # RFC 5737: unused
            "queue": (f"203.0.113.9:{free[2]}",),
        },
    )
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(cluster.to_json()))
    return path


Start = Callable[..., tuple[str, dict[str, str]]]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Runs `main`; returns the node that would run, and the variables that it gets."""
    monkeypatch.delenv("CLUSTER_SPEC", raising=False)
    names: list[str] = []
    variables: dict[str, str] = {}

    def execve(program: str, argv: list[str], environment: dict[str, str]) -> None:
        variables.update(environment)

    def run_it(cluster: Cluster, job: str, task: int) -> None:
        names.append(f"{job}/{task}")

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr(run_node, "_run_to_end", run_it)

    def start(*flags: str) -> tuple[str, dict[str, str]]:
        variables.clear()
        with given(run_node.define_flags, *flags):
            run_node.main(["run_node"])
        return names[-1], dict(variables)

    return start


def test_the_node_of_the_flags(start: Start, file: pathlib.Path) -> None:
    name, variables = start(f"--cluster={file}", "--job_name=actor", "--task=1")
    assert name == "actor/1"
    assert (variables["NPROC"], variables["JAX_PLATFORMS"]) == ("1", "cpu")
    _, variables = start(f"--cluster={file}", "--job_name=actor", "--task=1", "--cores=3")
    assert variables["NPROC"] == "3"
    name, variables = start(f"--cluster={file}", "--job_name=learner", "--task=0")
    assert name == "learner/0"
    assert variables["MALLOC_ARENA_MAX"] == "1"


def test_a_process_with_its_variables_goes_on(
    start: Start, file: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = (f"--cluster={file}", "--job_name=learner", "--task=0")
    _, variables = start(*flags)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert start(*flags) == ("learner/0", {})


def test_the_node_of_cluster_spec(
    start: Start, file: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec: dict[str, Any] = {"cluster": {}, "task": {"type": "actor", "index": 1}}
    monkeypatch.setenv("CLUSTER_SPEC", json.dumps(spec))
    assert start(f"--cluster={file}")[0] == "actor/1"
    assert start(f"--cluster={file}", "--job_name=learner", "--task=0")[0] == "learner/0"


def test_the_coordinator_claims_the_run_directory(start: Start, file: pathlib.Path) -> None:
    start(f"--cluster={file}", "--job_name=actor", "--task=0")
    directory = RunDirectory(file.parent / "run")
    assert not directory.path.exists()
    start(f"--cluster={file}", "--job_name=coordinator", "--task=0")
    assert directory.read_config() == CONFIG
    directory.lock()  # the coordinator has released it


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--job_name=actor", "job_name='actor', task=None: give both, or neither if the environm"),
        ("--task=0", "job_name=None, task=0: give both, or neither if the environment variable "),
        ("", "job_name=None, task=None: give both, or neither if the environment variable CLUST"),
        ("--job_name=actr --task=0", "job_name='actr': must be one of coordinator, learner, que"),
        ("--job_name=actor --task=2", "task=2: of job 'actor' it must be from 0 to 1"),
        ("--job_name=learner --task=0 --cores=2", "cores=2: only an actor has this setting, not"),
        ("--job_name=actor --task=0 3", "unexpected argument '3': settings are given as --name"),
    ],
)
def test_it_refuses(
    flags: str,
    message: str,
    file: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CLUSTER_SPEC", raising=False)
    line = refused(run_node, capsys, f"--cluster={file}", *flags.split())
    assert line.startswith(message)
    assert not (file.parent / "run").exists()


def test_it_needs_a_file(file: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = ("--job_name=actor", "--task=0")
    assert refused(run_node, capsys, *node) == (
        "cluster: --cluster=FILE must be given; cluster_template writes the file"
    )
    file.write_text("{}")
    assert refused(run_node, capsys, f"--cluster={file}", *node) == (
        f"{file}: the file has []; it must have run, logdir, cluster"
    )


def test_a_port_in_use(file: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = json.loads(file.read_text())["cluster"]["coordinator"][0]
    with socket.create_server(("", int(address.split(":")[1]))):
        line = refused(run_node, capsys, f"--cluster={file}", "--job_name=coordinator", "--task=0")
    assert line == (
        f"coordinator/0 is to listen at {address}, but that port of this machine cannot be had: "
        "Address already in use; end what uses it, or change the cluster file"
    )


def test_a_node_on_another_host_than_its_own(
    start: Start, file: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(f"--cluster={file}", "--job_name=coordinator", "--task=0")
    assert capsys.readouterr().err == ""
    start(f"--cluster={file}", "--job_name=learner", "--task=0")
    address = json.loads(file.read_text())["cluster"]["learner"][0]
    first, _ = capsys.readouterr().err.splitlines()
    assert first == (
        f"note: learner/0 is to be reached at {address}, which is no address of this machine"
    )


def test_a_run_directory_with_another_run(
    start: Start, file: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = (f"--cluster={file}", "--job_name=coordinator", "--task=0")
    start(*node)
    capsys.readouterr()
    directory = RunDirectory(file.parent / "run")
    values = json.loads(file.read_text())
    values["run"]["seed"] = 5
    file.write_text(json.dumps(values))
    assert refused(run_node, capsys, *node) == (
        f"the run in {directory.path} cannot be resumed with the cluster file's settings: seed is "
        "1 in the run, not 5; recreate the file with cluster_template"
    )
    assert directory.read_config() == CONFIG


def test_a_second_coordinator(
    file: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_node, "_set_environment", lambda job: None)
    directory = RunDirectory(file.parent / "run")
    directory.create()
    directory.lock()
    line = refused(run_node, capsys, f"--cluster={file}", "--job_name=coordinator", "--task=0")
    assert line.startswith(f"logdir='{directory.path}': another run is using it;")


def test_through_the_real_command_line(file: pathlib.Path) -> None:
    result = run("run_node", f"--cluster={file}", "--job_name=actor", "--task=7")
    assert result.returncode == 2
    line = one_line(result.stdout, result.stderr)
    assert line == "task=7: of job 'actor' it must be from 0 to 1"
    result = run("run_node", f"--cluster={file}", "--job_name=actor", "--task=x")
    assert result.returncode == 2
    assert one_line(result.stdout, result.stderr).startswith("flag --task=x: invalid literal")
