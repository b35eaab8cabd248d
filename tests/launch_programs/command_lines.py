"""Flags as a user gives them, parsed inside a test."""

import contextlib
from collections.abc import Callable, Iterator

from absl import flags

FLAGS = flags.FLAGS


@contextlib.contextmanager
def given(define_flags: Callable[[], None], *arguments: str) -> Iterator[None]:
    """Defines a program's flags and parses `arguments`; afterwards the flags do not exist."""
    before = set(FLAGS)
    define_flags()
    try:
        FLAGS(["program", *arguments])
        yield
    finally:
        for name in set(FLAGS) - before:
            delattr(FLAGS, name)
        FLAGS.unparse_flags()
