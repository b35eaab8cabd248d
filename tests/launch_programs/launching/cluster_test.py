"""The cluster file: what is accepted, and what a program's nodes get from it."""

import copy
import dataclasses
import json
import pathlib
from typing import Any

import pytest

from launch_programs.launching.addresses import port
from launch_programs.launching.cluster import Cluster, bind, host, read_cluster, spec_task
from launch_programs.nodes.program import make_program, named_nodes
from launch_programs.run.run_directory import RunDirectory
from tests.launch_programs.runs import CONFIG

# For the run CONFIG, which has no separate queue nodes.
ADDRESSES = {"coordinator": ["h1:7000"], "learner": ["h1:7001"], "queue": ["h1:7002"]}


def make_cluster(*queues: str) -> Cluster:
    return Cluster(
        dataclasses.replace(CONFIG, num_queues=len(queues)),
        pathlib.Path("/runs/mine"),
        {
            "coordinator": ("h1:7000",),
            "learner": ("h2:7001",),
            "queue": queues or ("h2:7002",),
        },
    )


@pytest.fixture
def values() -> dict[str, Any]:
    return {"run": CONFIG.to_json(), "logdir": "/runs/mine", "cluster": copy.deepcopy(ADDRESSES)}


def written(values: Any, directory: pathlib.Path) -> pathlib.Path:
    path = directory / "cluster.json"
    path.write_text(json.dumps(values))
    return path


def test_a_file_is_read_as_it_was_written(tmp_path: pathlib.Path) -> None:
    for cluster in (make_cluster(), make_cluster("h3:1", "[fd00::1]:2")):
        assert read_cluster(written(cluster.to_json(), tmp_path)) == cluster


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cluster": {"coordinator": ["h1:1"]}}, "cluster has ['coordinator']; it must have coor"),
        ({"cluster": {**ADDRESSES, "actor": ["h2:1"]}}, "cluster has ['actor', 'coordinator', "),
        ({"cluster": None}, "cluster has None; it must have coordinator, learner, queue"),
        ({"more": 1}, "the file has ['cluster', 'logdir', 'more', 'run']; it must have run, log"),
        ({"logdir": "runs/mine"}, "logdir='runs/mine': must be an absolute path"),
        ({"logdir": 3}, "logdir=3: must be an absolute path"),
        ({"run": {"tasks": ["pong"]}}, "not a configuration of this version: 'agent'"),
        ({"run": {**CONFIG.to_json(), "num_actors": 0}}, "num_actors=0: must be at least 1"),
    ],
)
def test_a_file_that_is_not_a_cluster(
    changes: dict[str, Any], message: str, values: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    path = written({**values, **changes}, tmp_path)
    with pytest.raises(ValueError) as error:
        read_cluster(path)
    assert str(error.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("job", "addresses", "message"),
    [
        ("learner", [], "cluster: learner is []; every run needs 1 HOST:PORT"),
        (
            "queue",
            ["h1:1", "h1:2"],
            "cluster: queue is ['h1:1', 'h1:2']; num_queues=0 needs 1 HOST:PORT",
        ),
        ("queue", "h1:1", "cluster: queue is 'h1:1'; it must be a list of HOST:PORT"),
        ("queue", [7000], "cluster: queue is [7000]; it must be a list of HOST:PORT"),
        ("learner", ["h1"], "cluster: learner/0 is 'h1'; it must be HOST:PORT, with a port from"),
        ("learner", ["h1:0"], "cluster: learner/0 is 'h1:0'; it must be HOST:PORT"),
        ("learner", ["h1:65536"], "cluster: learner/0 is 'h1:65536'; it must be HOST:PORT"),
        ("learner", ["http://h1:1"], "cluster: learner/0 is 'http://h1:1'; it must be HOST:PORT"),
        ("learner", ["fd00::1:70"], "cluster: learner/0 is 'fd00::1:70'; it must be HOST:PORT"),
        ("learner", [":7000"], "cluster: learner/0 is ':7000'; it must be HOST:PORT"),
        (
            "learner",
            ["h1:7000"],
            "cluster: coordinator/0 and learner/0 have the same address 'h1:7000'",
        ),
        (
            "queue",
            ["h2:7002"],
            "cluster: queue/0 is 'h2:7002', learner/0 'h1:7001'; with num_queues=0 they are one",
        ),
    ],
)
def test_addresses_that_do_not_fit(
    job: str, addresses: Any, message: str, values: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    values["cluster"][job] = addresses
    path = written(values, tmp_path)
    with pytest.raises(ValueError) as error:
        read_cluster(path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_no_file(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="cannot be read: No such file or directory"):
        read_cluster(tmp_path / "nowhere.json")
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        read_cluster(tmp_path)
    (tmp_path / "cluster.json").write_text("{")
    with pytest.raises(ValueError, match="cluster.json is not JSON: "):
        read_cluster(tmp_path / "cluster.json")


@pytest.mark.parametrize(
    ("job", "task", "message"),
    [
        ("actr", 0, "job_name='actr': must be one of coordinator, learner, queue, actor, evaluat"),
        ("actor", 2, "task=2: of job 'actor' it must be from 0 to 1"),
        ("actor", -1, "task=-1: of job 'actor' it must be from 0 to 1"),
        ("learner", 1, "task=1: of job 'learner' it must be 0"),
        ("queue", 0, "job_name='queue': this run has no such node: with num_queues=0 the queue "),
    ],
)
def test_nodes_that_do_not_exist(job: str, task: int, message: str) -> None:
    with pytest.raises(ValueError) as error:
        make_cluster().check_node(job, task)
    assert str(error.value).startswith(message)


def test_no_evaluator() -> None:
    run = dataclasses.replace(CONFIG, evaluation_interval=0)
    cluster = dataclasses.replace(make_cluster(), run=run)
    with pytest.raises(ValueError, match="no such node: evaluation_interval is 0"):
        cluster.check_node("evaluator", 0)


def test_every_other_node_exists() -> None:
    cluster = make_cluster("h3:1", "h4:1")
    for job, count in cluster.num_nodes.items():
        for task in range(count):
            cluster.check_node(job, task)
    assert cluster.num_nodes == {
        "coordinator": 1,
        "learner": 1,
        "queue": 2,
        "actor": 2,
        "evaluator": 1,
    }


def test_cluster_spec_takes_the_place_of_addresses(
    values: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    path = written(values, tmp_path)
    spec = {"learner": ["n5:1"], "queue": ["n5:2"], "actor": ["n7:1"], "workerpool0": 3}
    cluster = read_cluster(path, json.dumps({"cluster": spec}))
    assert cluster.addresses == {
        "coordinator": ("h1:7000",),
        "learner": ("n5:1",),
        "queue": ("n5:2",),
    }


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{", "CLUSTER_SPEC is not JSON: "),
        ("[]", "CLUSTER_SPEC is []; it must be an object"),
        ("{}", "CLUSTER_SPEC: cluster is None; it must be an object of lists of HOST:PORT"),
        ('{"cluster": {"queue": 3}}', "CLUSTER_SPEC: cluster: queue is 3; it must be a list of "),
        (
            '{"cluster": {"queue": ["h9:1"]}}',
            "FILE with CLUSTER_SPEC: cluster: queue/0 is 'h9:1', learner/0 'h1:7001'; with num_qu",
        ),
    ],
)
def test_a_wrong_cluster_spec(
    spec: str, message: str, values: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    path = written(values, tmp_path)
    with pytest.raises(ValueError) as error:
        read_cluster(path, spec)
    assert str(error.value).startswith(message.replace("FILE", str(path)))


def test_the_task_of_cluster_spec() -> None:
    assert spec_task('{"task": {"type": "actor", "index": 3}}') == ("actor", 3)
    for task in ("{}", '{"type": "actor"}', '{"type": "actor", "index": "3"}', "null"):
        with pytest.raises(ValueError, match='it must be such as {"type": "actor", "index": 3}'):
            spec_task(f'{{"task": {task}}}')


def test_parts_of_addresses() -> None:
    assert (host("h1:7000"), port("h1:7000")) == ("h1", 7000)
    assert (host("[fd00::1]:70"), port("[fd00::1]:70")) == ("fd00::1", 70)


def resolved(cluster: Cluster, own: str) -> dict[str, list[str]]:
    """The addresses of all nodes that have any, as seen in the process of the node `own`."""
    nodes = named_nodes(make_program(cluster.run, RunDirectory(cluster.logdir)))
    bind(nodes, cluster, own)
    return {
        name: [address.resolve() for address in node.addresses]
        for name, node in nodes.items()
        if node.addresses
    }


def test_the_learners_process_has_the_queue() -> None:
    cluster = make_cluster()
    assert resolved(cluster, "actor/1") == {
        "coordinator/0": ["h1:7000"],
        "learner/0": ["h2:7002", "h2:7001"],
    }
    # How Reverb connects within a process.
    assert resolved(cluster, "learner/0")["learner/0"] == ["localhost:7002", "h2:7001"]
    assert cluster.listens_at("learner", 0) == ["h2:7001", "h2:7002"]
    assert cluster.listens_at("actor", 1) == []


def test_queues_of_their_own() -> None:
    cluster = make_cluster("h3:7000", "h4:7000")
    expected = {
        "coordinator/0": ["h1:7000"],
        "learner/0": ["h2:7001"],
        "queue/0": ["h3:7000"],
        "queue/1": ["h4:7000"],
    }
    for own in ("actor/1", "learner/0", "coordinator/0"):
        assert resolved(cluster, own) == expected
    assert cluster.listens_at("learner", 0) == ["h2:7001"]
    assert cluster.listens_at("queue", 1) == ["h4:7000"]
