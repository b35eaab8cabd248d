"""Calls users' code; whatever it raises becomes one line that names the task."""

import contextlib
import importlib
import importlib.util
import pathlib
from collections.abc import Iterator
from types import ModuleType


class EnvironmentRaised(ValueError):
    """A task's own code raised; `__cause__` is what it raised."""


@contextlib.contextmanager
def reported(task: str) -> Iterator[None]:
    """Names the task in whatever is raised within the block.

    Args:
      task: its name.

    Raises:
      ValueError: in one line: a `ValueError` with its message, anything else as
        `EnvironmentRaised`. That includes what is not an `Exception`: `SystemExit` from scripts
        imported as modules, and panics of libraries written in Rust. Ctrl-C passes through.
    """
    try:
        yield
    except (KeyboardInterrupt, EnvironmentRaised):
        raise
    except BaseException as error:
        text = " ".join(str(error).split())
        name = f"task {task!r}: "
        if type(error) is ValueError and text:
            if text.startswith(name):
                raise
            raise ValueError(name + text) from error
        kind = type(error).__name__
        raise EnvironmentRaised(f"{name}{kind}{text and f': {text}'}") from error


def imported(name: str) -> ModuleType:
    """Imports a user's module.

    Args:
      name: its dotted name.

    Raises:
      ValueError: it, or something it imports, is not found. Other exceptions pass through.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"{name} cannot be imported: {error}{_found(name, error)}") from error


def _found(name: str, error: ImportError) -> str:
    """Where the package that lacks the module is: another of the same name may be meant."""
    package = name.partition(".")[0]
    if package == name or error.name is None or not name.startswith(error.name):
        return ""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return ""
    return f"; the package {package!r} is that of {pathlib.Path(spec.origin).parent}"
