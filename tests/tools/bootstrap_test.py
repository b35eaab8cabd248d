"""The set-up finds a Python that works, trusts only the pinned uv, and repeats no finished work."""

import ast
import functools
import http.server
import importlib.util
import os
import shutil
import socket
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools import bootstrap

BROKEN_SHIM = '#!/bin/sh\necho "pyenv: python3.10: command not found" >&2\nexit 127\n'
PYTHON_3_9 = "#!/bin/sh\necho 3.9.18\n"

# Stands in for uv: logs each call, and makes an environment with one working interpreter.
WORKING_UV = """#!/bin/sh
echo "$@" >> {log}
if [ "$1" = venv ]; then
    mkdir -p {venv}/bin
    ln -sf {python} {venv}/bin/python
fi
"""
UV_WITHOUT_NETWORK = """#!/bin/sh
echo "error: error sending request for url (https://pypi.org/simple/jax/)"
exit 1
"""


def write_program(path: Path, text: str) -> Path:
    """Writes an executable script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def project(tmp_path: Path) -> types.ModuleType:
    """The bootstrap of a separate project, whose lock names one package."""
    script = tmp_path / "project" / "tools" / "bootstrap.py"
    script.parent.mkdir(parents=True)
    shutil.copy(bootstrap.__file__, script)
    (tmp_path / "project" / "requirements.lock").write_text("jax==0.6.2\n")
    spec = importlib.util.spec_from_file_location("bootstrap_of_project", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of a package index on this machine, which serves tmp_path."""
    monkeypatch.setenv("no_proxy", "*")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()


def test_runs_on_python_3_6() -> None:
    source = Path(bootstrap.__file__).read_text()
    ast.parse(source, feature_version=(3, 6))


def test_broken_shim_and_other_version_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = write_program(tmp_path / "shims" / "python3.10", BROKEN_SHIM)
    other = write_program(tmp_path / "other" / "python3.10", PYTHON_3_9)
    working = tmp_path / "working" / "python3.10"
    working.parent.mkdir()
    working.symlink_to(sys.executable)
    directories = [shim.parent, tmp_path / "absent", other.parent, working.parent]
    monkeypatch.setenv("PATH", os.pathsep.join([*map(str, directories), os.environ["PATH"]]))

    assert bootstrap.python_version(str(shim)) is None
    assert bootstrap.find_python() == str(working)


def test_pyenv_version_is_found_behind_its_shim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = write_program(tmp_path / "shims" / "python3.10", BROKEN_SHIM)
    working = tmp_path / "versions" / "3.10.4" / "bin" / "python3.10"
    working.parent.mkdir(parents=True)
    working.symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(shim.parent))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))

    assert bootstrap.find_python() == str(working)


@pytest.mark.parametrize(
    ("system", "machine"), [("Darwin", "arm64"), ("Windows", "AMD64"), ("Linux", "aarch64")]
)
def test_other_platform_is_refused_in_one_sentence(system: str, machine: str) -> None:
    with pytest.raises(bootstrap.SetupError) as refusal:
        bootstrap.check_platform(system, machine)
    sentence = str(refusal.value)
    assert "Linux x86-64 only" in sentence and f"{system} {machine}" in sentence
    assert sentence.count(".") == 1


def test_linux_on_x86_64_is_accepted() -> None:
    bootstrap.check_platform("Linux", "x86_64")


def test_other_uv_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / bootstrap.UV_WHEEL
    wheel.write_bytes(b"something else")
    executable = tmp_path / "uv"
    with pytest.raises(bootstrap.SetupError, match="refused, because its SHA-256 is"):
        bootstrap.unpack_uv(str(wheel), str(executable))
    assert not executable.exists()


def test_wheel_is_downloaded_from_the_index_page(tmp_path: Path, index: str) -> None:
    page = tmp_path / "simple" / "uv" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(
        f'<a href="../../files/other.whl">other</a>'
        f'<a href="../../files/{bootstrap.UV_WHEEL}#sha256=0">uv</a>'
    )
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / bootstrap.UV_WHEEL).write_bytes(b"wheel")
    target = tmp_path / "target"
    target.mkdir()

    bootstrap.download_from_index(index, str(target))

    assert (target / bootstrap.UV_WHEEL).read_bytes() == b"wheel"


def test_index_without_the_wheel_is_named(tmp_path: Path, index: str) -> None:
    page = tmp_path / "simple" / "uv" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text('<a href="uv-0.0.1.whl">uv</a>')
    with pytest.raises(bootstrap.SetupError, match="does not list uv-"):
        bootstrap.download_from_index(index, str(tmp_path))


def test_unreachable_index_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as closed:
        # Bound but not listening, so nothing else can take the port meanwhile.
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/simple"
        with pytest.raises(bootstrap.SetupError, match="cannot be reached .*refused"):
            bootstrap.download_from_index(url, str(tmp_path))


def test_second_set_up_does_nothing_and_a_changed_lock_repeats_it(
    project: types.ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The tests' own interpreter is the one Python 3.10 that is certain to exist.
    monkeypatch.setattr(project, "python_candidates", lambda version: iter([sys.executable]))
    log = tmp_path / "calls"
    write_program(
        Path(project.TOOLS, "uv-" + project.UV_VERSION),
        WORKING_UV.format(log=log, venv=project.VENV, python=sys.executable),
    )

    assert project.main([]) == 0
    calls = log.read_text()
    assert [line.split()[0] for line in calls.splitlines()] == ["venv", "pip", "pip"]
    assert "--require-hashes" in calls
    capsys.readouterr()

    assert project.main([]) == 0
    assert log.read_text() == calls
    assert capsys.readouterr().out == "The environment .venv is complete.\n"

    Path(project.LOCK).write_text("jax==0.6.3\n")
    assert project.main([]) == 0
    assert log.read_text() == calls * 2


@pytest.mark.parametrize("command", ["vertex", "cuda"])
def test_more_is_added_to_a_complete_environment(
    command: str, project: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "python_candidates", lambda version: iter([sys.executable]))
    log = tmp_path / "calls"
    write_program(
        Path(project.TOOLS, "uv-" + project.UV_VERSION),
        WORKING_UV.format(log=log, venv=project.VENV, python=sys.executable),
    )
    lock = Path(project.ROOT, project.ADDITIONS[command][0])
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text("xmanager==0.8.5\n")

    assert project.main([command]) == 0
    calls = log.read_text().splitlines()
    assert [line.split()[0] for line in calls] == ["venv", "pip", "pip", "pip"]
    assert calls[-1].endswith(f"-r {lock}") and "--require-hashes" in calls[-1]

    assert project.main([]) == 0  # stays complete
    assert log.read_text().splitlines() == calls


def test_the_core_gets_the_newest_python_and_the_projects_wheel(
    project: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two newer Pythons, and the project's own.
    versions = {"3.12": "a", "3.11": "b", "3.10": sys.executable}
    monkeypatch.setattr(project, "find_python", lambda version="3.10": versions.get(version))
    log = tmp_path / "calls"
    write_program(
        Path(project.TOOLS, "uv-" + project.UV_VERSION),
        WORKING_UV.format(log=log, venv=project.CORE_VENV, python=sys.executable)
        + 'if [ "$1" = build ]; then touch "$7/mine.whl"; fi\n',
    )
    Path(project.CORE_LOCK).write_text("jax==0.12.0\n")

    assert project.main(["core"]) == 0
    calls = log.read_text().splitlines()
    assert [line.split()[0] for line in calls] == ["venv", "pip", "build", "pip", "pip"]
    assert calls[0].endswith(f"--python a {project.CORE_VENV}")
    assert calls[1].endswith(f"-r {project.CORE_LOCK}") and "--require-hashes" in calls[1]
    assert calls[3].endswith("mine.whl") and calls[4].startswith("pip check")

    # The environment is kept until the lock or the Python changes; the wheel is always rebuilt.
    assert project.main(["core"]) == 0
    assert [x.split()[0] for x in log.read_text().splitlines()[5:]] == ["build", "pip", "pip"]
    versions["3.13"] = "d"
    assert project.main(["core"]) == 0
    assert log.read_text().splitlines()[8].endswith(f"--python d {project.CORE_VENV}")


def test_without_a_newer_python_the_core_is_not_tested(
    project: types.ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(project, "find_python", lambda version: None)
    assert project.main(["core"]) == 0
    assert capsys.readouterr().out == (
        "No Python of 3.13, 3.12, 3.11 was found: the core is not tested.\n"
    )
    assert not Path(project.CORE_VENV).exists()


def test_the_cores_ranges_have_the_locks_versions() -> None:
    root = Path(bootstrap.ROOT)
    exact = dict(
        line.split()[0].split("==")
        for line in (root / "requirements.in").read_text().splitlines()
        if "==" in line
    )
    for line in (root / "requirements-core.in").read_text().splitlines():
        if ">=" in line:
            requirement = Requirement(line.split()[0])
            assert requirement.specifier.contains(exact[requirement.name])


def test_environment_with_a_broken_interpreter_is_not_complete(
    project: types.ModuleType,
) -> None:
    python = Path(project.VENV_PYTHON)
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    assert not project.is_complete()
    Path(project.STAMP).write_text(project.fingerprint())
    assert project.is_complete()
    python.unlink()
    python.symlink_to("/nonexistent/python3.10")
    assert not project.is_complete()


def test_failed_set_up_names_the_network_and_is_not_taken_for_complete(
    project: types.ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(project, "python_candidates", lambda version: iter([sys.executable]))
    write_program(Path(project.TOOLS, "uv-" + project.UV_VERSION), UV_WITHOUT_NETWORK)

    assert project.main([]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert errors[0].startswith("Set-up failed: ") and "The network is the cause" in errors[0]
    assert "error sending request" in errors[1]
    assert not project.is_complete()
