"""A disk that takes no more, without the right to mount one."""

import contextlib
import resource
from collections.abc import Iterator

import jax

_LEAST_TIME = "jax_persistent_cache_min_compile_time_secs"


@contextlib.contextmanager
def full_beyond(size: int) -> Iterator[None]:
    """Lets every write of this process beyond `size` bytes of a file fail, as the system does it.

    What fits is written: a part of the data, as on a disk that becomes full.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # JAX would leave parts of what it compiles in the cache that all tests share.
    least = jax.config.values[_LEAST_TIME]
    jax.config.update(_LEAST_TIME, 1e9)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        jax.config.update(_LEAST_TIME, least)
