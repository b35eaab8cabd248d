"""Programs outlive their readers."""

import os
import pathlib
import subprocess
import sys

import pytest

from tests.integration.programs import ROOT

PROGRAM = """
import sys
from launch_programs.console import standard_streams
standard_streams.set_up()
for i in range(10_000):
    print("line \\u2014", i, flush=i % 100 == 0)
with open(sys.argv[1], "w") as file:
    file.write(f"{file.fileno() > 2} {sys.stdout.isatty()}")
print("not lost", file=sys.stderr)
"""


def run(path: pathlib.Path, redirection: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        ["bash", "-c", f'"$@" {redirection}', "-", sys.executable, "-c", PROGRAM, str(path)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    "redirection", [">&-", "> /dev/full", "<&- >&-", "> >(head -n 1)", "> >(exit)"]
)
def test_standard_output_that_takes_nothing(tmp_path: pathlib.Path, redirection: str) -> None:
    process = run(tmp_path / "result", redirection)
    _, errors = process.communicate()
    assert process.returncode == 0
    full = "standard output is lost: No space left on device\n"
    assert errors == (f"{full}not lost\n" if "full" in redirection else "not lost\n")
    assert (tmp_path / "result").read_text() == "True False"


@pytest.mark.parametrize("redirection", ["2>&-", "2> /dev/full", ">&- 2>&- <&-"])
def test_standard_error_that_takes_nothing(tmp_path: pathlib.Path, redirection: str) -> None:
    process = run(tmp_path / "result", redirection)
    process.communicate()
    assert process.returncode == 0
    assert (tmp_path / "result").read_text() == "True False"


def test_characters_that_the_encoding_lacks(tmp_path: pathlib.Path) -> None:
    process = run(tmp_path / "result", "", LC_ALL="C", PYTHONIOENCODING="ascii")
    output, errors = process.communicate()
    assert (process.returncode, errors) == (0, "not lost\n")
    assert output.splitlines()[-1] == "line \\u2014 9999"
