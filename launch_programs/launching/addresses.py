"""Node addresses, for launchers that know them before they start the nodes."""

import socket

import launchpad as lp
from launchpad.address import AbstractAddressBuilder


class KnownAddress(AbstractAddressBuilder):
    """Binds a Launchpad address to a known HOST:PORT."""

    def __init__(self, address: str):
        """Keeps `address`, HOST:PORT."""
        self._address = address

    def build(self) -> str:
        """The address."""
        return self._address


def port(address: str) -> int:
    """The port of HOST:PORT."""
    return int(address.rpartition(":")[2])


def check_localhost() -> None:
    """Rejects a machine on which nodes would wait for each other forever.

    Raises:
      ValueError: it cannot resolve `localhost`.
    """
    try:
        socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise ValueError(
            f"'localhost': this machine cannot resolve it ({error.strerror}), and nodes speak to "
            "each other by it: add the line '127.0.0.1 localhost' to /etc/hosts"
        ) from error


def own_address(address: lp.Address, known: str) -> str:
    """The address at which a node's own process reaches a server of the node.

    Args:
      address: one of the node's addresses.
      known: HOST:PORT for other processes.
    """
    # Reverb passes samples within a process only if it is addressed over the loopback interface.
    return f"localhost:{port(known)}" if (address.name or "").startswith("reverb") else known
