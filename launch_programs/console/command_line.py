"""Code shared by the command-line programs: exits and error messages."""

import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

import jax
from absl import app, flags, logging

from environments import EnvironmentRaised
from launch_programs.console import at_start, standard_streams


def run(main: Callable[[list[str]], int | None]) -> None:
    """Parses the flags, runs `main` and exits with its result, as `absl.app.run` does.

    An illegal flag prints one line, like all bad input, without absl's hints. So does Ctrl-C, with
    a shell's exit code. Every program has --debug.
    """
    flags.DEFINE_bool("debug", False, "Shows the traceback of an error, too.")
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS["debug"])  # for --help
    at_start.end_imports()
    standard_streams.set_up()
    try:
        app.run(main, flags_parser=_parse_flags)
    except KeyboardInterrupt:
        at_start.end_interrupted()


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        fail(error)


def set_up_process() -> None:
    """Quietens libraries and runs JAX on the CPU, for programs other than the learner.

    They run the network on one observation at a time, which no accelerator makes faster, and every
    JAX process occupies a whole one.
    """
    logging.set_verbosity(logging.ERROR)
    jax.config.update("jax_platforms", "cpu")


def fail(error: Exception) -> NoReturn:
    """Ends the program with one line about what is wrong with its input, and exit code 2.

    With --debug the traceback is printed above it.
    """
    text = " ".join(str(error).split())
    if _debug():
        traceback.print_exception(error)
    elif isinstance(error, EnvironmentRaised):
        text += " (--debug shows where)"
    print("error:", text, file=sys.stderr)
    sys.exit(2)


def _debug() -> bool:
    """Whether --debug is given; false if it is not defined or the flags are not parsed."""
    return bool("debug" in flags.FLAGS and flags.FLAGS["debug"].value)


def reject_positional_arguments(argv: list[str]) -> None:
    """Rejects arguments that are not flags.

    Raises:
      ValueError: there is one.
    """
    if len(argv) > 1:
        raise ValueError(f"unexpected argument {argv[1]!r}: settings are given as --name=value")
