"""Settings of every test."""

import os
import pathlib

# What XLA has compiled is kept, for tests, runs and the programs that they start: many compile the
# same. Set before JAX is imported.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(__file__).parents[1] / ".jax_cache")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax  # noqa: E402

# An array never gains an axis unnoticed.
jax.config.update("jax_numpy_rank_promotion", "raise")
