"""A Reverb server for one test."""

from collections.abc import Sequence

import reverb

_servers: list[reverb.Server] = []


def serve(tables: Sequence[reverb.Table]) -> reverb.Client:
    """Serves the tables on a free port and returns a client.

    The server stays up until the process ends. A reader in the same process outlives the test if it
    waits in a `Prefetcher`; once its table is closed, Reverb makes it retry at once, forever, which
    keeps a core busy for the rest of the tests.
    """
    _servers.append(reverb.Server(tables))
    return reverb.Client(f"localhost:{_servers[-1].port}")
