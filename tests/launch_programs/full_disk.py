"""Simulates a full disk, without the right to mount one."""

import contextlib
import resource
from collections.abc import Iterator

import jax

_LEAST_TIME = "jax_persistent_cache_min_compile_time_secs"


@contextlib.contextmanager
def full_beyond(size: int) -> Iterator[None]:
    """Makes the system fail this process's writes beyond `size` bytes of a file.

    The part of the data that fits is written, as on a disk that fills up.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # JAX would leave truncated entries in the compilation cache that all tests share.
    least = jax.config.values[_LEAST_TIME]
    jax.config.update(_LEAST_TIME, 1e9)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        jax.config.update(_LEAST_TIME, least)
