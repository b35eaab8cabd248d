"""Nodes whose environments misbehave: a `sitecustomize.py` for a program's processes."""

import pathlib
import textwrap

import pytest

# Python imports a module of this name at startup if it finds one. Nodes are forks of one process:
# the environment is patched in that process, and looks up which node it runs in.
_SITECUSTOMIZE = """
import sys

if any("multiprocessing.forkserver" in argument for argument in sys.orig_argv):
    import os
    import threading
    import time
    import traceback
    import warnings

    from absl import logging
    from environments.toy.catch import Catch

    DIED = __file__ + ".died"
    play, steps, node = Catch.step, 0, ""

    def fail():
        raise LookupError("in a thread")

    def step(self, action):
        global steps, node
        if not node:
            with open("/proc/self/comm") as file:
                node = file.read().strip()
        steps += 1
        timestep = play(self, action)
        if node.startswith("actor/"):
            {happens}
        return timestep

    Catch.step = step
"""


def misbehave(directory: pathlib.Path, monkeypatch: pytest.MonkeyPatch, happens: str) -> None:
    """Runs code at every step of Catch in the actors of programs started from now on.

    Args:
      directory: where the module is written.
      monkeypatch: the test's fixture.
      happens: Python code; it can use `node`, such as "actor/0", `steps`, the steps of this process
        so far, and `timestep`, which is returned.
    """
    indented = textwrap.indent(textwrap.dedent(happens), 12 * " ").strip()
    (directory / "sitecustomize.py").write_text(_SITECUSTOMIZE.format(happens=indented))
    monkeypatch.setenv("PYTHONPATH", str(directory))
