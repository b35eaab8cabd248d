"""Start-up code that the package runs before importing anything outside the standard library.

The programs' imports take seconds, during which the user may press Ctrl-C. They fail if another
package has the name of one of this project's, or if only the core is installed.
"""

import gc
import importlib.util
import os
import pathlib
import signal
import sys

# Packages that the core does not need.
_STACK = ("acme", "launchpad", "reverb")

_INTERRUPTED = 130  # a shell's exit code for Ctrl-C


def is_program() -> bool:
    """Whether `python -m` imports this package in order to run one of its modules."""
    return sys.argv[:1] == ["-m"]


def check_packages() -> None:
    """Checks that no other project's packages shadow this project's.

    Raises:
      ImportError: one does, so nothing in this package could be imported.
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
    """Checks that Launchpad and its companions are installed; no program runs without them.

    Raises:
      ImportError: one of them is missing.
    """
    for name in _STACK:
        if importlib.util.find_spec(name) is None:
            version = ".".join(map(str, sys.version_info[:2]))
            raise ImportError(
                f"launch_programs needs the package {name}: install the extra [stack] with uv, on "
                f"Python 3.10 (this is {version}); docs/install.md says how"
            )


def begin_imports() -> None:
    """Prepares the process for seconds of imports, during which there is nothing to clean up.

    Ctrl-C ends it at once, with one line; an exception would not work, since extension modules
    swallow or print it. There is no garbage yet, and looking for it takes a fifth of the time.
    """
    _end_at_interrupt()
    gc.disable()


def end_imports() -> None:
    """Restores Python's defaults: Ctrl-C raises `KeyboardInterrupt`, and garbage is collected."""
    if _has_interrupts():
        signal.signal(signal.SIGINT, signal.default_int_handler)
    collect_garbage()


def collect_garbage() -> None:
    """Enables garbage collection from now on, without scanning what has been imported."""
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
    """Ends the program after a `KeyboardInterrupt`, with one line and a shell's exit code."""
    _end_at_interrupt()  # Python's own shutdown takes a while
    print("Interrupted.", file=sys.stderr)
    sys.exit(_INTERRUPTED)
