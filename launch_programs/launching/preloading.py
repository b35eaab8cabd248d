"""Preloads the nodes' imports: the fork server (forking.py) imports this module."""

import gc
import importlib
import sys

from launch_programs.console import at_start

# The modules that nodes run.
_MODULES = (
    "launch_programs.launching.node_process",
    "launch_programs.nodes.program",
)

# TensorFlow imports Keras, which imports pandas if installed; pandas imports pyarrow, which starts
# a thread that forks would lack. Keras works without pandas.
_HIDDEN = "pandas"

if _HIDDEN not in sys.modules:
    sys.modules[_HIDDEN] = None  # type: ignore[assignment]
    gc.disable()  # there is no garbage yet
    try:
        for _module in _MODULES:
            importlib.import_module(_module)
    finally:
        del sys.modules[_HIDDEN]
        # Keeps the collector off the imported objects: visiting them writes to their pages, and
        # each fork would then get its own copy of those.
        at_start.collect_garbage()
