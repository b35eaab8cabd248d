"""A copy of the working tree that a test may write to."""

import pathlib
import shutil
import subprocess

import pytest

from tools.check_build import project_files

ROOT = pathlib.Path(__file__).parents[1]

# Bazel's tests see a copy of some files, without git and .venv.
needs_repository = pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="needs the git repository and its .venv"
)


def make_working_copy(path: pathlib.Path) -> pathlib.Path:
    """Copies what git does not ignore, uncommitted changes included, and links to this .venv.

    Args:
      path: where the copy is made; a git repository of its own, with nothing committed.
    """
    for name in project_files(ROOT):
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    for name in (".venv", ".venv-tools"):
        (path / name).symlink_to(ROOT / name)
    exclude = path / ".git" / "info" / "exclude"
    subprocess.run(["git", "init", "--quiet", "."], cwd=path, check=True)
    exclude.write_text("/.venv\n/.venv-tools\n")  # .gitignore names directories; these are links
    subprocess.run(["git", "add", "--all"], cwd=path, check=True)
    return path
