"""What programs do before they import anything, in processes of their own."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from tests.integration.programs import ROOT, run
from tests.launch_programs.command_lines import one_line


@pytest.mark.parametrize("file", ["environments/__init__.py", "agents.py"])
def test_packages_of_another_project_in_front(file: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("GAMES = ['mine']\n")
    name = file.split("/")[0].removesuffix(".py")
    message = (
        f"{tmp_path / file} stands before this project's package {name!r}: rename it, start from "
        f"another directory, or put {ROOT} first in PYTHONPATH"
    )
    result = run("train", "--level_name=catch_x1", path=tmp_path, cwd=tmp_path)
    assert result.returncode == 2
    assert one_line(result.stdout, result.stderr) == message

    # Importing the package raises an exception and does not end the process.
    result = subprocess.run(
        [sys.executable, "-c", "import launch_programs"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert result.stderr.splitlines()[-1] == f"ImportError: {message}"


def test_a_folder_that_is_no_package_is_in_nobodys_way(tmp_path: pathlib.Path) -> None:
    (tmp_path / "environments").mkdir()
    result = run("runs", str(tmp_path), path=tmp_path, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")


def test_an_interrupt_while_a_program_imports(tmp_path: pathlib.Path) -> None:
    # Replaces a package that all programs need.
    (tmp_path / "absl.py").write_text("print('imports', flush=True)\nimport time\ntime.sleep(60)\n")
    with subprocess.Popen(
        [sys.executable, "-m", "launch_programs.runs"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "imports\n"
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=60)
    assert (program.returncode, errors) == (130, "Interrupted.\n")


def test_the_garbage_collector_works_when_the_imports_are_over() -> None:
    code = """
import gc
from launch_programs.console import at_start
at_start.begin_imports()
print(gc.isenabled())
at_start.end_imports()
print(gc.isenabled(), gc.get_freeze_count() > 0)
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("False\nTrue True\n", "")


def test_no_program_is_left_without_a_garbage_collector() -> None:
    """The package turns it off for any program that `python -m` starts."""
    for path in (ROOT / "launch_programs").rglob("*.py"):
        code = path.read_text()
        if '__name__ == "__main__"' in code:
            main = code.partition('__name__ == "__main__"')[2]
            assert "command_line.run(main)" in main or "at_start.collect_garbage()" in main, path
