"""Settings for all tests."""

import gc
import importlib.util
import os
import pathlib
from unittest import mock

# Caches what XLA compiles, for tests, runs and the programs that they start: many compile the same
# code. Must be set before JAX is imported.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(__file__).parents[1] / ".jax_cache")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax  # noqa: E402

from tests import compiling  # noqa: E402

with mock.patch.dict(os.environ, compiling.unoptimised()):
    jax.devices()

# No array gains an axis unnoticed.
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_collection_finish() -> None:
    """Freezes what test modules have imported, so that the garbage collector skips it.

    TensorFlow, JAX and the rest are so many objects that scanning them took a sixth of the time.
    """
    gc.freeze()


# Without Acme only the core is available. Its tests are those of agents, environments and examples,
# except for these (`make test-core`).
if importlib.util.find_spec("acme") is None:
    collect_ignore = [
        "agents/acme_compat_test.py",
        "agents/popart_impala/builder_test.py",
        "agents/popart_impala/data_path_test.py",
        "agents/popart_impala/learning_test.py",
        "agents/popart_impala/queue_meter_test.py",
        "agents/popart_impala/reverb_queue_test.py",
        "agents/popart_impala/unrolls_test.py",
        "agents/popart_impala/variables_test.py",
        "environments/doom_test.py",
        # Takes a minute to test ale-py, whose version is the same.
        "environments/atari_pixels_test.py",
        "environments/atari_test.py",
        "environments/procgen_test.py",
        # Minutes of compiling. networks_test.py checks that every network is built and learns.
        "agents/popart_impala/attention_metrics_test.py",
        "agents/popart_impala/progressive_test.py",
        "agents/popart_impala/self_attention_test.py",
        "agents/popart_impala/subnetworks_test.py",
    ]
