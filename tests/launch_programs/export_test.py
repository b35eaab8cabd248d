"""The export program, on run directories with untrained policies."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from agents.popart_impala.policy_file import load_policy
from launch_programs import export
from launch_programs.run.checkpointing import restore_policy
from launch_programs.run.run_directory import RunDirectory
from tests.launch_programs.command_lines import given, refused
from tests.launch_programs.runs import make_run


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return make_run(tmp_path_factory.mktemp("runs") / "toy", "toy", "--hidden_size=8")


def run(*arguments: str) -> None:
    with given(export.define_flags, *arguments):
        export.main(["export"])


def test_what_is_written_and_printed(toy: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    run(f"--logdir={toy.path}")
    path = toy.path / "toy-5.policy.npz"
    assert capsys.readouterr().out.splitlines() == [
        f"written to {path}: {path.stat().st_size:,} bytes",
        f"load it with: agents.popart_impala.load_policy('{path}')",
        f"play it with: python -m examples.play_exported {path}",
    ]
    policy = load_policy(path)
    assert policy.tasks == ("catch_x1", "catch_x100", "catch_x10000")
    assert (policy.info.learner_steps, policy.info.frames) == (5, 3200)
    assert (policy.info.observation_shape, policy.info.stacked) == ((10, 5), False)
    assert policy.info.environment == {}
    with np.load(path) as archive:
        for module, params in restore_policy(toy).params.items():
            for name, array in params.items():
                np.testing.assert_array_equal(archive[f"params/{module}/{name}"], array)
        np.testing.assert_array_equal(archive["popart/sigma"], np.ones(3))


def test_atari(tmp_path: pathlib.Path) -> None:
    flags = ("--action_set=minimal", "--life_loss", "--hidden_size=8")
    directory = make_run(tmp_path / "run", "seaquest", *flags)
    run(f"--logdir={directory.path}", f"--output={tmp_path}/mine", "--float16")
    info = load_policy(tmp_path / "mine").info
    assert (info.observation_shape, info.stacked) == ((4, 84, 84), True)
    assert info.observation_dtype == np.uint8
    # It is played on whole games, with the actions that it knows.
    assert info.environment["action_set"] == "minimal"
    assert info.environment["life_loss"] is False
    with np.load(tmp_path / "mine") as archive:
        assert archive["params/policy_head/w"].dtype == np.float16


@pytest.mark.slow
def test_the_example_plays_it(tmp_path: pathlib.Path) -> None:
    flags = ("--max_frames_per_episode=120", "--hidden_size=8")
    path = export.export(make_run(tmp_path, "pong", *flags), None)
    process = subprocess.run(
        [sys.executable, "-m", "examples.play_exported", str(path), "2"],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert process.returncode == 0, process.stderr
    first, last = process.stdout.splitlines()
    assert first == "pong-5.policy.npz: trained on 3,200 frames of pong"
    # Games are cut off after 120 frames, as in the run.
    assert last in [f"pong: mean return {mean:.1f} of 2 episodes" for mean in (0, -0.5, -1.0)]


def test_refusals(
    toy: RunDirectory, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refusal(*arguments: str) -> str:
        return refused(export, capsys, *arguments)

    assert refusal(f"--logdir={tmp_path}") == (
        f"{tmp_path} is not a run directory: it has no config.json"
    )
    directory = RunDirectory(tmp_path)
    directory.write_config(toy.read_config())
    assert refusal(f"--logdir={tmp_path}").startswith(f"{tmp_path} has no checkpoint yet: train it")
    taken = tmp_path / "taken"
    taken.write_text("mine")
    assert refusal(f"--logdir={toy.path}", f"--output={taken}") == (
        f"{taken} exists already: give another name as --output"
    )
    assert taken.read_text() == "mine"
    message = refusal(f"--logdir={toy.path}", f"--output={tmp_path}/no/such/file")
    assert "No such file or directory" in message
    assert refusal("all", f"--logdir={toy.path}").startswith("unexpected argument 'all'")
