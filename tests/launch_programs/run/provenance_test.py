"""What a run was trained with."""

import importlib.metadata
import json
import os
import pathlib
import subprocess

import pytest

from launch_programs.run import provenance
from launch_programs.run.run_directory import RunDirectory


def git(root: pathlib.Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: pathlib.Path) -> pathlib.Path:
    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "-q")
    (root / "agent.py").write_text("")
    git(root, "add", ".")
    git(root, "commit", "-qm", "First")
    return root


def test_commit_and_changes(repository: pathlib.Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    assert len(commit) == 40
    assert provenance.code(repository) == {"commit": commit, "modified": False}
    (repository / "runs").mkdir()
    (repository / "runs" / "note").write_text("not tracked")
    assert provenance.code(repository) == {"commit": commit, "modified": False}
    (repository / "agent.py").write_text("changed")
    assert provenance.code(repository) == {"commit": commit, "modified": True}


def test_code_without_git(repository: pathlib.Path, tmp_path: pathlib.Path) -> None:
    installed = {"unknown": "installed without git"}
    assert provenance.code(tmp_path) == installed
    # Installed in another project's environment, and that project uses git.
    site_packages = repository / ".venv" / "site-packages"
    site_packages.mkdir(parents=True)
    assert provenance.code(site_packages) == installed


def test_machines_without_git(
    repository: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.code(repository) == {"unknown": "git is not installed"}


def test_a_broken_repository_says_what_git_says(repository: pathlib.Path) -> None:
    (repository / ".git" / "HEAD").write_text("ref: refs/heads/none\n")
    unknown = provenance.code(repository)["unknown"]
    assert unknown.startswith("fatal: ")
    assert "\n" not in unknown


def test_an_entry() -> None:
    entry = provenance.describe(frames=640)
    assert json.loads(json.dumps(entry)) == entry
    assert entry["frames"] == 640
    for name, version in entry["packages"].items():
        assert version == importlib.metadata.version(name)
    assert {"jax", "dm-haiku", "dm-acme", "dm-reverb", "ale-py", "numpy"} <= set(entry["packages"])
    machine = entry["machine"]
    assert machine["cores"] == len(os.sched_getaffinity(0))
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert machine["memory_gib"] == pytest.approx(pages / 2**30, abs=0.1)
    assert machine["accelerators"] == []
    assert "Linux" in machine["system"]


def test_every_start_is_kept(tmp_path: pathlib.Path) -> None:
    directory = RunDirectory(tmp_path)
    assert provenance.read(directory) == []
    provenance.record(directory, 0)
    first = provenance.read(directory)
    provenance.record(directory, 640)
    assert provenance.read(directory)[:1] == first
    assert [entry["frames"] for entry in provenance.read(directory)] == [0, 640]


@pytest.mark.parametrize("text", ["", "{", "{}", '[{"time": "now"}]', "[1]"])
def test_a_damaged_file_is_left_as_it_is(tmp_path: pathlib.Path, text: str) -> None:
    directory = RunDirectory(tmp_path)
    directory.provenance.write_text(text)
    with pytest.raises(ValueError, match=rf"^{directory.provenance} is damaged: "):
        provenance.record(directory, 0)
    assert directory.provenance.read_text() == text
    assert list(tmp_path.iterdir()) == [directory.provenance]
