"""What a program does before it imports more than Python's own: the package calls it.

The programs' imports take seconds, in which Ctrl-C may come, and fail where another package has the
name of one of this project's, or where only the core is installed.
"""

import gc
import importlib.util
import os
import pathlib
import signal
import sys

# What the core can do without.
_STACK = ("acme", "launchpad", "reverb")

_INTERRUPTED = 130  # a shell's exit code for Ctrl-C


def is_program() -> bool:
    """Whether `python -m` is about to run a module of this package, and imports the package."""
    return sys.argv[:1] == ["-m"]


def check_packages() -> None:
    """Looks whether another project's packages stand before those that this one is made of.

    Raises:
      ImportError: they do; nothing of this package could be imported.
    """
    root = pathlib.Path(__file__).resolve().parents[2]
    for name in ("agents", "environments"):
        spec = importlib.util.find_spec(name)
        if spec is None:
            continue
        # A folder without __init__.py has no origin.
        found = [spec.origin] if spec.origin else [*(spec.submodule_search_locations or ())]
        if found and root not in pathlib.Path(found[0]).resolve().parents:
            raise ImportError(
                f"{found[0]} stands before this project's package {name!r}: rename it, start from "
                f"another directory, or put {root} first in PYTHONPATH"
            )


def check_stack() -> None:
    """Looks whether Launchpad, and what belongs to it, is installed: no program runs without.

    Raises:
      ImportError: it is not.
    """
    for name in _STACK:
        if importlib.util.find_spec(name) is None:
            version = ".".join(map(str, sys.version_info[:2]))
            raise ImportError(
                f"launch_programs needs the package {name}: install the extra [stack] with uv, on "
                f"Python 3.10 (this is {version}); docs/install.md says how"
            )


def begin_imports() -> None:
    """Prepares the process for seconds of imports, with nothing to be undone.

    Ctrl-C ends it at once, with one line: an exception would be no good, since extension modules
    drop it, or print it. There is no garbage yet, and looking for it takes a fifth of the time.
    """
    _end_at_interrupt()
    gc.disable()


def end_imports() -> None:
    """Ctrl-C raises `KeyboardInterrupt`, and garbage is collected, as Python does by default."""
    if _has_interrupts():
        signal.signal(signal.SIGINT, signal.default_int_handler)
    collect_garbage()


def collect_garbage() -> None:
    """Lets garbage be collected from now on; what has been imported stays, and is not looked at."""
    gc.freeze()
    gc.enable()


def _end_at_interrupt() -> None:
    if _has_interrupts():
        signal.signal(signal.SIGINT, lambda number, frame: _end())


def _has_interrupts() -> bool:
    return signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


def _end() -> None:
    os.write(2, b"Interrupted.\n")
    os._exit(_INTERRUPTED)


def end_interrupted() -> None:
    """Ends the program after a `KeyboardInterrupt`: one line, and a shell's exit code."""
    _end_at_interrupt()  # Python's own end takes a while
    print("Interrupted.", file=sys.stderr)
    sys.exit(_INTERRUPTED)
