"""A Reverb server for one test."""

import contextlib
from collections.abc import Iterator, Sequence

import reverb

_servers: list[reverb.Server] = []


@contextlib.contextmanager
def serve(tables: Sequence[reverb.Table]) -> Iterator[reverb.Client]:
    """Serves the tables on a free port; gives a client.

    The server stays up until the process ends. A table's reader in the same process outlives the
    test if it waits in a `Prefetcher`, and Reverb makes it ask a closed table again at once, for
    ever: a busy core for the rest of the tests.
    """
    _servers.append(reverb.Server(tables))
    yield reverb.Client(f"localhost:{_servers[-1].port}")
