"""Prepares a run whose nodes are started by hand."""

import json
import pathlib

import pytest

from launch_programs import cluster_template, run_node
from launch_programs.launching.cluster import read_cluster
from launch_programs.run.run_directory import RunDirectory
from tests.launch_programs.command_lines import given, refused
from tests.launch_programs.runs import CONFIG


@pytest.fixture
def directory(tmp_path: pathlib.Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def prepared(
    directory: RunDirectory, capsys: pytest.CaptureFixture[str], *flags: str
) -> tuple[dict[str, list[str]], str]:
    """Returns the addresses in the cluster file, and the output."""
    with given(cluster_template.define_flags, f"--logdir={directory.path}", *flags):
        assert cluster_template.main(["cluster_template"]) == 0
    cluster = read_cluster(directory.cluster)
    assert cluster.run == directory.read_config()
    assert cluster.logdir == directory.path
    out, err = capsys.readouterr()
    assert err == ""
    return {job: list(addresses) for job, addresses in cluster.addresses.items()}, out


TOY = ("--level_name=toy", "--num_actors=3")


def test_one_command_for_each_node(
    directory: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    addresses, out = prepared(directory, capsys, *TOY, "--num_queues=2", "--hosts=h1,h2")
    assert addresses == {
        "coordinator": ["h1:7000"],
        "learner": ["h1:7001"],
        "queue": ["h2:7000", "h2:7001"],
    }
    lines = out.splitlines()
    assert lines[0].startswith("Training: catch_x1, catch_x100, catch_x10000 for ")
    started = [line.split(": python -m launch_programs.run_node ") for line in lines[-8:]]
    assert [host for host, _ in started] == ["h1", "h1", "h2", "h2", *["any host"] * 4]
    nodes = []
    for _, flags in started:
        with given(run_node.define_flags, *flags.split(" ")):
            nodes.append((run_node.FLAGS.job_name, run_node.FLAGS.task))
            assert run_node.FLAGS.cluster == str(directory.cluster)
    actors = [("actor", i) for i in range(3)]
    assert nodes == [
        ("coordinator", 0),
        ("learner", 0),
        ("queue", 0),
        ("queue", 1),
        *actors,
        ("evaluator", 0),
    ]


def test_hosts_are_assigned_round_robin() -> None:
    def queues(num_queues: int, hosts: list[str]) -> tuple[str, ...]:
        config = CONFIG if num_queues == 0 else type(CONFIG)(**{**vars(CONFIG), "num_queues": 2})
        return cluster_template.deal(config, hosts, 9000)["queue"]

    assert queues(0, ["a"]) == ("a:9002",)
    assert queues(0, ["a", "b"]) == ("a:9002",)  # in the learner's process
    assert queues(2, ["a"]) == ("a:9002", "a:9003")
    assert queues(2, ["a", "b"]) == ("b:9000", "b:9001")
    assert queues(2, ["a", "b", "c", "d"]) == ("b:9000", "c:9000")


def test_a_users_addresses_are_kept(
    directory: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(directory, capsys, *TOY)
    values = json.loads(directory.cluster.read_text())
    values["cluster"]["coordinator"] = ["login-node:4000"]
    edited = json.dumps(values)
    directory.cluster.write_text(edited)

    addresses, out = prepared(directory, capsys, "--total_environment_frames=500000")
    assert out.startswith("Resuming: ")
    assert addresses["coordinator"] == ["login-node:4000"]
    assert read_cluster(directory.cluster).run.agent.total_environment_frames == 500_000

    # New addresses are requested: the old ones are kept.
    addresses, out = prepared(directory, capsys, "--hosts=h8")
    assert addresses["coordinator"] == ["h8:7000"]
    old = directory.path / "cluster.json.old"
    assert f"the cluster file before: {old}" in out
    assert read_cluster(old).addresses["coordinator"] == ("login-node:4000",)

    _, out = prepared(directory, capsys, "--hosts=h8")
    assert "before" not in out  # nothing has changed
    assert read_cluster(old).addresses["coordinator"] == ("login-node:4000",)


def test_kept_addresses_that_do_not_fit(
    directory: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(directory, capsys, *TOY)
    before = (directory.config.read_text(), directory.cluster.read_text())
    flags = (f"--logdir={directory.path}", "--num_queues=2")
    assert refused(cluster_template, capsys, *flags) == (
        f"{directory.cluster}: cluster: queue is ['localhost:7002']; num_queues=2 needs 2 "
        "HOST:PORT; give --hosts for new addresses"
    )
    assert (directory.config.read_text(), directory.cluster.read_text()) == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--hosts=h1:7000", "hosts: 'h1:7000' is not a host; it must be a name or an address"),
        ("--hosts=h1,,h2", "hosts: '' is not a host; it must be a name or an address, without "),
        ("--hosts=h1,h1", "hosts='h1,h1': must be one or several different hosts"),
        ("--hosts=", "hosts='': must be one or several different hosts"),
        ("--port=65535", "cluster: learner/0 is 'localhost:65536'; it must be HOST:PORT, with a "),
        ("--num_actors=0", "num_actors=0: must be at least 1"),
        ("h1", "unexpected argument 'h1': settings are given as --name=value"),
    ],
)
def test_it_refuses(
    flags: str, message: str, directory: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(
        cluster_template, capsys, "--level_name=toy", f"--logdir={directory.path}", flags
    )
    assert line.startswith(message)
    assert not directory.path.exists()


def test_a_run_under_way_is_left_alone(
    directory: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(directory, capsys, *TOY)
    before = directory.cluster.read_text()
    running = RunDirectory(directory.path)
    running.lock()
    line = refused(cluster_template, capsys, f"--logdir={directory.path}", "--hosts=h8")
    assert line.startswith(f"logdir='{directory.path}': another run is using it;")
    assert directory.cluster.read_text() == before
