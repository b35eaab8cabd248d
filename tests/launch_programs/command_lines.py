"""Flags as a user gives them, parsed inside a test."""

import contextlib
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
from absl import flags

FLAGS = flags.FLAGS


@contextlib.contextmanager
def given(define_flags: Callable[[], None], *arguments: str) -> Iterator[None]:
    """Defines a program's flags and parses `arguments`; removes the flags afterwards."""
    before = set(FLAGS)
    define_flags()
    try:
        FLAGS(["program", *arguments])
        yield
    finally:
        for name in set(FLAGS) - before:
            delattr(FLAGS, name)
        FLAGS.unparse_flags()


def refused(program: ModuleType, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Runs a program's `main` in this process; returns its one-line refusal."""
    options = [a for a in arguments if a.startswith("--")]
    positional = [a for a in arguments if not a.startswith("--")]
    with given(program.define_flags, *options), pytest.raises(SystemExit) as end:
        program.main(["program", *positional])
    assert end.value.code == 2
    return one_line(*capsys.readouterr())


def one_line(out: str, err: str) -> str:
    """Returns the message in the only line of a refusal."""
    # ale-py prints where its ROMs are if a variable tells it.
    assert [line for line in out.splitlines() if not line.startswith("Loading roms ")] == []
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err[len("error: ") : -1]
