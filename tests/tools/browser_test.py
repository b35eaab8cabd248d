"""Finding a browser, on machines with and without one; nothing is installed here."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Callable

import pytest

from tools import browser

Run = Callable[[], tuple[int, str]]


def program(folder: pathlib.Path, name: str, text: str = "exit 0") -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def run(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Runs the program as root with only `tmp_path` in PATH; returns exit code and errors."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def main() -> tuple[int, str]:
        code = browser.main()
        return code, capsys.readouterr().err

    return main


ASK = (
    "error: no browser: install Chromium, so that one of chromium, chromium-browser, "
    "google-chrome, google-chrome-stable is in PATH\n"
)


@pytest.mark.parametrize("name", ["chromium", "google-chrome"])
def test_there_is_one(tmp_path: pathlib.Path, run: Run, name: str) -> None:
    program(tmp_path, name)
    program(tmp_path, "apt-get", "exit 9")  # must not be called
    assert run() == (0, "")


def test_there_is_none_and_no_way_to_get_it(
    tmp_path: pathlib.Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run() == (1, ASK)
    program(tmp_path, "apt-get", "exit 9")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run() == (1, ASK)


def test_it_is_installed(tmp_path: pathlib.Path, run: Run) -> None:
    log = tmp_path / "log"
    install = f'[ "$2" = update ] || /bin/cp $0 {tmp_path}/chromium'
    program(tmp_path, "apt-get", f'echo "$@" >> {log}; {install}')
    assert run() == (0, "")
    assert log.read_text().splitlines() == [
        "-qq update",
        "-qq install -y --no-install-recommends chromium",
    ]


def test_it_cannot_be_installed(tmp_path: pathlib.Path, run: Run) -> None:
    program(tmp_path, "apt-get", "echo no network; exit 100")
    assert run() == (1, "no network\nerror: apt-get -qq update failed\n")
    program(tmp_path, "apt-get", "exit 0")  # installs something else
    assert run() == (1, ASK)


def test_it_needs_no_environment(tmp_path: pathlib.Path) -> None:
    """`make` runs it with whatever Python there is, without this project's packages."""
    program(tmp_path, "chromium")
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(pathlib.Path(browser.__file__))],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
