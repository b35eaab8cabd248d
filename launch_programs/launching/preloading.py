"""What the process that nodes are forked from imports (forking.py), by being imported."""

import gc
import importlib
import sys

from launch_programs.console import at_start

# What the nodes are made of.
_MODULES = (
    "launch_programs.launching.node_process",
    "launch_programs.nodes.program",
)

# TensorFlow imports Keras, which imports pandas if there is one, and pandas pyarrow, which starts a
# thread: a fork would not have it. Keras does without.
_HIDDEN = "pandas"

if _HIDDEN not in sys.modules:
    sys.modules[_HIDDEN] = None  # type: ignore[assignment]
    gc.disable()  # there is no garbage yet
    try:
        for _module in _MODULES:
            importlib.import_module(_module)
    finally:
        del sys.modules[_HIDDEN]
        # Forks leave alone what was imported: a collector that looks at it writes to its pages, and
        # each fork would have its own copy of them.
        at_start.collect_garbage()
