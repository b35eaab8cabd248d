"""A Reverb server for one test."""

import contextlib
from collections.abc import Iterator, Sequence

import reverb


@contextlib.contextmanager
def serve(tables: Sequence[reverb.Table]) -> Iterator[reverb.Client]:
    """Serves the tables on a free port while the block runs; gives a client."""
    server = reverb.Server(tables)
    try:
        yield reverb.Client(f"localhost:{server.port}")
    finally:
        server.stop()
