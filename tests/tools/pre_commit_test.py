"""The hooks of .pre-commit-config.yaml."""

import pathlib
import subprocess

import pytest

from tests.working_copy import ROOT, make_working_copy, needs_repository

pytestmark = needs_repository

PRE_COMMIT = str(ROOT / ".venv" / "bin" / "pre-commit")


def test_the_configuration_is_valid() -> None:
    config = str(ROOT / ".pre-commit-config.yaml")
    done = subprocess.run([PRE_COMMIT, "validate-config", config], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout + done.stderr == ""  # no warnings either


@pytest.mark.slow
def test_hooks_find_what_is_wrong(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network: every tool is in .venv.

    `make lint` checks that the tree passes as it is, with the same mypy.
    """
    copy = make_working_copy(tmp_path / "copy")
    monkeypatch.setenv("PRE_COMMIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SKIP", "mypy")

    # A machine that allows no namespaces runs the hooks with network access.
    alone = ["unshare", "--user", "--net"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode != 0:
        alone = []

    def run_hooks(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*alone, PRE_COMMIT, "run", *arguments]
        return subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=240)

    (copy / "environments" / "new.py").write_text('"""New."""\n\nx = undefined\n')
    subprocess.run(["git", "add", "--all"], cwd=copy, check=True)
    done = run_hooks()
    assert done.returncode == 1
    assert done.stdout.count("Passed") == 2
    assert "F821" in done.stdout
