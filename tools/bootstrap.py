"""Makes the environment .venv from requirements.lock, as `make setup` and the other targets do.

    python3 tools/bootstrap.py                   makes .venv, or does nothing when it is complete
    python3 tools/bootstrap.py vertex            the same, and adds contrib/vertex/requirements.lock
    python3 tools/bootstrap.py cuda              the same, and adds requirements-cuda.lock
    python3 tools/bootstrap.py core              makes .venv-core from requirements-core.lock
    python3 tools/bootstrap.py lock [--upgrade]  resolves requirements*.in into the locks

Needs only the standard library and runs on Python 3.6 or newer, because a user's Python is seldom
the 3.10 that the project needs. The steps are: find a working Python 3.10, get a pinned uv, and let
it make the environment from the lock. A step that fails says why in one sentence.
"""

import argparse
import fcntl
import glob
import hashlib
import http.client
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
import zipfile
from typing import Dict, Iterator, List, Optional, Tuple

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
TOOLS = os.path.join(ROOT, ".venv-tools")
LOCK = os.path.join(ROOT, "requirements.lock")
# What can be added to .venv: the command, its lock, and what the environment can do then.
ADDITIONS = {
    "vertex": ("contrib/vertex/requirements.lock", "can launch on Vertex AI"),
    "cuda": ("requirements-cuda.lock", "can use NVIDIA GPUs"),
}
CORE_VENV = os.path.join(ROOT, ".venv-core")
CORE_LOCK = os.path.join(ROOT, "requirements-core.lock")
# Written when the set-up is complete, and only then.
STAMP = os.path.join(VENV, "setup-complete")

# The project's Python, and those that its core also runs on, newest first.
PYTHON = "3.10"
CORE_PYTHONS = ("3.13", "3.12", "3.11")

UV_VERSION = "0.13.9"
UV_WHEEL = "uv-{}-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl".format(UV_VERSION)
UV_SHA256 = "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19"

PYPI = "https://pypi.org/simple"
# uv does not read pip's configuration, so the settings that decide whether an index can be reached
# at all are passed on.
PIP_SETTINGS = {"index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE", "proxy": "HTTPS_PROXY"}

# Prints the version of a usable interpreter. The imports fail where Python was built without the
# libraries they need, as happens with pyenv.
PROBE = """
import ctypes, ssl, sys, zlib
assert sys.implementation.name == "cpython" and sys.maxsize > 2**32
print("%d.%d.%d" % sys.version_info[:3])
"""

NETWORK_ERRORS = re.compile(
    r"error sending request|dns error|client error \(connect\)|connection (refused|reset)"
    r"|name resolution|network is unreachable|timed out|tunnel",
    re.IGNORECASE,
)


class SetupError(Exception):
    """A failure that the user can act on.

    Attributes:
      output: what the failed program printed, shown below the sentence.
    """

    def __init__(self, sentence: str, output: str = "") -> None:
        """Keeps the output beside the sentence."""
        super().__init__(sentence)
        self.output = output


def say(text: str) -> None:
    """Prints a line of progress immediately, even into a pipe."""
    print(text, flush=True)


def child_environment() -> Dict[str, str]:
    """Returns the environment without the variables that would mislead a child's Python."""
    misleading = ("PYTHONHOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in misleading}


def run(command: List[str], failure: str) -> str:
    """Runs a program in the project's root.

    Args:
      command: the program and its arguments.
      failure: the sentence that says what failed.

    Returns:
      What the program printed.

    Raises:
      SetupError: the program failed; names the network if that is the cause.
    """
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    if done.returncode != 0:
        if NETWORK_ERRORS.search(done.stdout):
            failure += (
                " The network is the cause: check the connection, and the proxy and package index"
                " settings."
            )
        raise SetupError(failure, done.stdout)
    return done.stdout


def check_platform(system: str, machine: str) -> None:
    """Rejects platforms that Reverb and Launchpad have no wheels for.

    Raises:
      SetupError: the platform is not Linux x86-64.
    """
    if system != "Linux" or machine != "x86_64":
        raise SetupError(
            "This project runs on Linux x86-64 only, because Reverb and Launchpad ship nothing"
            " else; this machine is {} {}.".format(system, machine)
        )


def python_version(python: str) -> Optional[str]:
    """Returns the version of a 64-bit CPython, such as "3.10.13", or None if it does not work.

    Only running it can tell: a pyenv shim named python3.10 exists, but fails where another version
    is selected.
    """
    try:
        done = subprocess.run(
            [python, "-c", PROBE],
            env=child_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            universal_newlines=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def python_candidates(version: str) -> Iterator[str]:
    """Yields paths that may be a Python of this version, the most deliberately chosen first."""
    name = "python" + version
    for directory in os.environ.get("PATH", "").split(os.pathsep):
        yield os.path.join(directory, name)
    for pyenv in (os.environ.get("PYENV_ROOT"), os.path.expanduser("~/.pyenv")):
        if pyenv:
            yield from glob.glob(os.path.join(pyenv, "versions", version + ".*", "bin", name))
    yield os.path.join("/usr/local/bin", name)
    yield os.path.join("/usr/bin", name)
    yield sys.executable


def find_python(version: str = PYTHON) -> Optional[str]:
    """Returns the path of the first Python of this version that works, or None.

    The environments' own interpreters are not candidates: they are about to be replaced.
    """
    for python in python_candidates(version):
        if python.startswith((VENV + os.sep, CORE_VENV + os.sep)) or not os.access(python, os.X_OK):
            continue
        if (python_version(python) or "").startswith(version + "."):
            return python
    return None


def adopt_pip_settings(python: str) -> None:
    """Sets the environment variables of PIP_SETTINGS from pip's variables and configuration.

    Args:
      python: an interpreter; without pip, it has no configuration to offer.
    """
    for setting, variable in PIP_SETTINGS.items():
        value = os.environ.get("PIP_" + setting.upper().replace("-", "_"))
        if not value:
            done = subprocess.run(
                [python, "-m", "pip", "config", "get", "global." + setting],
                env=child_environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                universal_newlines=True,
            )
            value = done.stdout.strip() if done.returncode == 0 else ""
        if value:
            os.environ.setdefault(variable, value)


def download_with_pip(python: str, directory: str) -> bool:
    """Downloads uv's wheel with the interpreter's pip, which knows how to log in to the index.

    Returns:
      Whether it succeeded: there may be no pip, or one too old to see this wheel.
    """
    command = [python, "-m", "pip", "download", "uv==" + UV_VERSION, "--dest", directory]
    command += ["--no-deps", "--only-binary=:all:", "--platform=manylinux2014_x86_64"]
    done = subprocess.run(
        command + ["--retries=1", "--timeout=30"],
        env=child_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return done.returncode == 0 and os.path.exists(os.path.join(directory, UV_WHEEL))


def download_from_index(index: str, directory: str) -> None:
    """Downloads uv's wheel without pip.

    Args:
      index: URL of a package index's simple page.
      directory: where to put the wheel.

    Raises:
      SetupError: the index cannot be reached, or has no such wheel.
    """
    page = index.rstrip("/") + "/uv/"
    try:
        with urllib.request.urlopen(page, timeout=60) as response:
            links = re.findall(r'href="([^"]+)"', response.read().decode())
        wheels = [link for link in links if link.split("#")[0].endswith("/" + UV_WHEEL)]
        if not wheels:
            host = urllib.parse.urlsplit(page).hostname
            raise SetupError("The package index {} does not list {}.".format(host, UV_WHEEL))
        with urllib.request.urlopen(urllib.parse.urljoin(page, wheels[0]), timeout=60) as response:
            with open(os.path.join(directory, UV_WHEEL), "wb") as file:
                file.write(response.read())
    except (OSError, http.client.HTTPException) as error:
        # The whole address may contain a password.
        raise SetupError(
            "The package index {} cannot be reached ({}): check the network connection, and the"
            " proxy and package index settings.".format(
                urllib.parse.urlsplit(page).hostname,
                getattr(error, "reason", None) or type(error).__name__,
            )
        ) from error


def unpack_uv(wheel: str, executable: str) -> None:
    """Extracts the program from uv's wheel.

    Args:
      wheel: path of the downloaded wheel.
      executable: path of the program, which is written atomically.

    Raises:
      SetupError: the wheel is not the one that this file names.
    """
    with open(wheel, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    if digest != UV_SHA256:
        raise SetupError(
            "The downloaded {} is refused, because its SHA-256 is {} and not {}.".format(
                UV_WHEEL, digest, UV_SHA256
            )
        )
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read("uv-{}.data/scripts/uv".format(UV_VERSION))
    partial = executable + ".partial"
    with open(partial, "wb") as file:
        file.write(content)
    os.chmod(partial, 0o755)
    os.replace(partial, executable)


def get_uv(python: Optional[str]) -> str:
    """Returns the path of the pinned uv, which is downloaded once.

    Args:
      python: the Python 3.10 found, if any: it may have pip where the running one has none.
    """
    executable = os.path.join(TOOLS, "uv-" + UV_VERSION)
    if not os.path.exists(executable):
        say("  getting uv {}".format(UV_VERSION))
        with tempfile.TemporaryDirectory(dir=TOOLS) as directory:
            pythons = [path for path in (python, sys.executable) if path]
            if not any(download_with_pip(path, directory) for path in pythons):
                download_from_index(os.environ.get("UV_DEFAULT_INDEX", PYPI), directory)
            unpack_uv(os.path.join(directory, UV_WHEEL), executable)
    return executable


def fetch_python(uv: str) -> str:
    """Lets uv fetch a Python 3.10, to where uv keeps its Pythons.

    Returns:
      The path of its interpreter.

    Raises:
      SetupError: it cannot be fetched.
    """
    say("  fetching Python 3.10, because no working one was found")
    failure = (
        "No working Python 3.10 was found and uv could not fetch one: install Python 3.10, for"
        " example with your distribution's package manager or `pyenv install 3.10`."
    )
    run([uv, "python", "install", "--no-bin", PYTHON], failure)
    return run([uv, "python", "find", "--managed-python", "--no-project", PYTHON], failure).strip()


def fingerprint(lock: str = LOCK) -> str:
    """Returns a hash of what an environment depends on: its lock, and the project's location."""
    with open(lock, "rb") as file:
        return hashlib.sha256(file.read() + ROOT.encode()).hexdigest()


def is_stamped(stamp: str, text: str) -> bool:
    """Returns whether a set-up wrote this text when it completed."""
    if not os.path.exists(stamp):
        return False
    with open(stamp, encoding="utf-8") as file:
        return file.read() == text


def is_complete() -> bool:
    """Returns whether .venv was made from this lock, in this place, and its interpreter works."""
    if not is_stamped(STAMP, fingerprint()):
        return False
    return (python_version(VENV_PYTHON) or "").startswith(PYTHON + ".")


def install_lock(uv: str, lock: str, python: str = VENV_PYTHON) -> None:
    """Installs a lock's packages into an environment.

    Args:
      uv: path of uv.
      lock: path of the lock.
      python: the environment's interpreter.

    Raises:
      SetupError: they could not be installed.
    """
    name = os.path.basename(lock)
    with open(lock, encoding="utf-8") as file:
        packages = sum(1 for line in file if re.match(r"[a-z0-9]", line))
    say("  installing {} packages from {}".format(packages, name))
    # Compiled now, since otherwise every process spends ten seconds compiling TensorFlow's modules
    # where the environment is read-only or PYTHONDONTWRITEBYTECODE is set. Packages without a wheel
    # are built with the lock's setuptools, not with the latest.
    run(
        [uv, "pip", "install", "--quiet", "--no-deps", "--python", python]
        + ["--require-hashes", "--compile-bytecode", "--build-constraints", LOCK, "-r", lock],
        "The packages of {} could not be installed.".format(name),
    )


def create_environment(uv: str, python: str, directory: str) -> None:
    """Makes an empty environment, replacing any that is there.

    Args:
      uv: path of uv.
      python: path of the interpreter.
      directory: the environment's directory.

    Raises:
      SetupError: it could not be made.
    """
    create = [uv, "venv", "--quiet", "--no-project", "--clear", "--force", "--python", python]
    name = os.path.basename(directory)
    run(create + [directory], "The environment {} could not be made.".format(name))


def install(uv: str, python: str) -> None:
    """Rebuilds .venv from scratch, removing what an interrupted set-up left behind.

    Args:
      uv: path of uv.
      python: path of a Python 3.10.

    Raises:
      SetupError: a step failed.
    """
    create_environment(uv, python, VENV)
    install_lock(uv, LOCK)
    run(
        [uv, "pip", "install", "--quiet", "--no-deps", "--python", VENV_PYTHON]
        + ["--offline", "--no-build-isolation", "--editable", ROOT],
        "The project itself could not be installed into .venv.",
    )
    with open(STAMP, "w", encoding="utf-8") as file:
        file.write(fingerprint())


def obtain_tools() -> Tuple[str, str]:
    """Returns the paths of the pinned uv and of a Python 3.10, fetching what is missing.

    Raises:
      SetupError: one of them cannot be obtained.
    """
    python = find_python()
    adopt_pip_settings(python or sys.executable)
    uv = get_uv(python)
    return uv, python or fetch_python(uv)


def set_up() -> None:
    """Makes .venv unless it is complete.

    Raises:
      SetupError: with the cause.
    """
    if not is_complete():
        os.makedirs(TOOLS, exist_ok=True)
        with open(os.path.join(TOOLS, "lock"), "w") as lock:
            # A user may start two programs at once: the second waits, and finds the work done.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_complete():
                say("Setting up the environment .venv:")
                started = time.monotonic()
                uv, python = obtain_tools()
                say("  using Python 3.10 at {}".format(python))
                install(uv, python)
                say("  took {:.0f} s".format(time.monotonic() - started))
    say("The environment .venv is complete.")


def add(command: str) -> None:
    """Adds the packages of one of ADDITIONS to a complete .venv; quick if they are there.

    Raises:
      SetupError: with the cause.
    """
    lock, ability = ADDITIONS[command]
    set_up()
    uv, _ = obtain_tools()
    install_lock(uv, os.path.join(ROOT, lock))
    say("The environment .venv {}.".format(ability))


def set_up_core() -> None:
    """Makes .venv-core: the newest Python found, the core's packages and the project's wheel.

    Does nothing, and says so, if no Python newer than the project's is found.

    Raises:
      SetupError: with the cause.
    """
    found = (find_python(version) for version in CORE_PYTHONS)
    python = next((path for path in found if path), None)
    if python is None:
        say("No Python of {} was found: the core is not tested.".format(", ".join(CORE_PYTHONS)))
        return
    os.makedirs(TOOLS, exist_ok=True)
    uv, _ = obtain_tools()
    core_python = os.path.join(CORE_VENV, "bin", "python")
    stamp = os.path.join(CORE_VENV, "setup-complete")
    complete = python + " " + fingerprint(CORE_LOCK)
    if not is_stamped(stamp, complete):
        say("Setting up the environment .venv-core with {}:".format(python))
        create_environment(uv, python, CORE_VENV)
        install_lock(uv, CORE_LOCK, core_python)
        with open(stamp, "w", encoding="utf-8") as file:
            file.write(complete)
    failure = "The project's wheel could not be {} .venv-core."
    with tempfile.TemporaryDirectory(dir=TOOLS) as directory:
        # From a source distribution: build/ may have files that the project no longer has.
        build = [uv, "build", "--quiet", "--no-build-isolation", "--python", core_python]
        run(build + ["--out-dir", directory], failure.format("built in"))
        (wheel,) = glob.glob(os.path.join(directory, "*.whl"))
        install_wheel = [uv, "pip", "install", "--quiet", "--no-deps", "--reinstall"]
        run(install_wheel + ["--python", core_python, wheel], failure.format("installed into"))
    run([uv, "pip", "check", "--python", core_python], "The core's packages do not fit together.")
    say("The environment .venv-core is complete.")


def resolve(upgrade: bool) -> None:
    """Rewrites the locks, keeping the versions in them that still fit.

    Args:
      upgrade: choose the newest versions instead.

    Raises:
      SetupError: with the cause.
    """
    os.makedirs(TOOLS, exist_ok=True)
    uv, python = obtain_tools()
    command = [uv, "pip", "compile", "--quiet", "--generate-hashes"]
    command += ["--custom-compile-command", "make lock"]
    command += ["--upgrade"] if upgrade else []
    whole = ["--python", python, "--override", "overrides.txt"]
    # For all of the core's Pythons, each with the newest versions available for it.
    core = ["--universal", "--python-version", CORE_PYTHONS[-1]]
    for lock, sources in (
        (
            "requirements.lock",
            whole + ["requirements.in", "requirements-ray.in", "requirements-dev.in"],
        ),
        # These take shared packages in the first lock's versions.
        (
            "contrib/vertex/requirements.lock",
            whole + ["contrib/vertex/requirements.in", "-c", "requirements.lock"],
        ),
        ("requirements-cuda.lock", whole + ["requirements-cuda.in", "-c", "requirements.lock"]),
        ("requirements-core.lock", core + ["requirements-core.in", "requirements-core-dev.in"]),
    ):
        run(
            command + sources + ["--output-file", lock],
            "The requirements of {} could not be resolved.".format(lock),
        )
        say("Wrote {}.".format(lock))


def main(arguments: List[str]) -> int:
    """Runs one command and returns the exit status."""
    parser = argparse.ArgumentParser(description="Sets up the environment .venv.")
    commands = ("setup", "core", "lock") + tuple(ADDITIONS)
    parser.add_argument("command", nargs="?", choices=commands, default="setup")
    parser.add_argument("--upgrade", action="store_true", help="lock: take the newest versions")
    options = parser.parse_args(arguments)
    try:
        check_platform(platform.system(), platform.machine())
        if options.command == "setup":
            set_up()
        elif options.command in ADDITIONS:
            add(options.command)
        elif options.command == "core":
            set_up_core()
        else:
            resolve(options.upgrade)
    except SetupError as error:
        print("Set-up failed: {}".format(error), file=sys.stderr)
        if error.output:
            print(error.output.rstrip(), file=sys.stderr)
        return 1
    except OSError as error:
        print("Set-up failed: {}.".format(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Set-up was interrupted; the next one starts over.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
