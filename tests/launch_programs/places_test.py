"""Directories that cannot be written to, and printed commands that can be pasted."""

import os
import pathlib
import shlex
import subprocess
import sys

import pytest

from launch_programs import evaluate, export, plot, report, train
from launch_programs.run.checkpointing import restore_policy
from tests.integration.programs import ROOT
from tests.launch_programs.command_lines import given, refused
from tests.launch_programs.full_disk import full_beyond
from tests.launch_programs.rows import episode
from tests.launch_programs.runs import make_run, make_tables


def test_refused_before_any_work(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_run(tmp_path / "run", "catch_x1").path
    plots = make_tables(tmp_path / "tables", "catch_x1", actors=[episode(1, 64, "catch_x1", 1.0)])
    with full_beyond(100):
        assert refused(evaluate, capsys, f"--logdir={path}") == (
            f"logdir='{path}': cannot be written to: File too large"
        )
        advice = "cannot be written: File too large; give another place as --output"
        assert refused(report, capsys, str(path)) == f"{path} {advice}"
        assert refused(export, capsys, f"--logdir={path}") == f"{path} {advice}"
        assert refused(plot, capsys, str(plots.path)) == f"{plots.plots} {advice}"
    left = sorted(p.name for p in path.iterdir())
    assert left == ["checkpoints", "config.json", "logs"]


def test_results_that_cannot_be_written_are_printed(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = make_run(tmp_path / "run", "catch_x1")
    with full_beyond(20), pytest.raises(OSError):
        evaluate.evaluate(directory, episodes=1, greedy=False, seed=1)
    assert "catch_x1 " in capsys.readouterr().out
    assert not list(directory.path.glob("evaluation-*.json*"))


def test_printed_commands_can_be_pasted(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_run(tmp_path / "a run's $1", "catch_x1").path
    with given(export.define_flags, f"--logdir={path}"):
        export.main(["export"])
    command = capsys.readouterr().out.splitlines()[-1].removeprefix("play it with: ")
    arguments = shlex.split(command)
    assert pathlib.Path(arguments.pop()).exists()
    assert arguments == ["python", "-m", "examples.play_exported"]
    empty = make_tables(tmp_path / "not trained", "catch_x1")
    with pytest.raises(ValueError) as error:
        restore_policy(empty)
    assert shlex.split(str(error.value).partition("with ")[2])[-1] == f"--logdir={empty.path}"


def test_a_run_that_has_the_frames_is_not_begun(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = make_run(tmp_path / "run", "catch_x1", "--total_environment_frames=6400")
    before = directory.config.read_text()
    for frames in (3_200, 640):
        flags = [f"--logdir={directory.path}", f"--total_environment_frames={frames}"]
        with given(train.define_flags, *flags):
            assert train.main(["train"]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "nothing to do: the run has 3,200 frames, and --total_environment_frames is "
            f"{frames:,}",
            f"To evaluate it: python -m launch_programs.evaluate --logdir={directory.path}",
        ]
    assert directory.config.read_text() == before


@pytest.mark.slow
def test_a_report_in_a_locale_without_its_characters(tmp_path: pathlib.Path) -> None:
    directory = make_tables(tmp_path / "run", "catch_x1")
    directory.note_failure("l'été — 日本")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    for program in ("report", "runs"):
        done = subprocess.run(
            [sys.executable, "-m", f"launch_programs.{program}", str(directory.path)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert "l\\u2019" not in done.stdout and "\\u65e5\\u672c" in done.stdout


@pytest.mark.slow
def test_a_machine_without_localhost(tmp_path: pathlib.Path) -> None:
    hide = "mount --bind /dev/null /etc/hosts && "
    resolve = (
        f"{shlex.quote(sys.executable)} -c 'import socket; socket.getaddrinfo(\"localhost\", 0)'"
    )
    if subprocess.run(["unshare", "-m", "sh", "-c", f"{hide} ! {resolve}"]).returncode:
        pytest.skip("needs the right to mount, and a resolver that asks /etc/hosts")
    command = [sys.executable, "-m", "launch_programs.train", f"--logdir={tmp_path}/run"]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{hide} {shlex.join([*command, '--level_name=catch_x1'])}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: 'localhost': this machine cannot resolve it (")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_programs_of_one_second(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import time\nreal = time.strftime\n"
        "time.strftime = lambda f, *a: '0' if f == '%Y%m%d-%H%M%S' else real(f, *a)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.chdir(tmp_path)
    programs = [
        subprocess.Popen(
            [sys.executable, "-m", "launch_programs.cluster_template", "--level_name=catch_x1"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [program.communicate()[0] for program in programs]
    assert [program.returncode for program in programs] == [0, 0]
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["catch_x1-0", "catch_x1-0-2"]
    for output in outputs:  # all commands name the run's own directory
        assert len(set(p for p in shlex.split(output) if p.startswith("--cluster="))) == 1
    assert "--cluster=" in outputs[0] and outputs[0] != outputs[1]
