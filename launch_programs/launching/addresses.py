"""Where nodes listen, for launchers that know it before they start them."""

import socket

import launchpad as lp
from launchpad.address import AbstractAddressBuilder


class KnownAddress(AbstractAddressBuilder):
    """What Launchpad's addresses are bound to: an address that is known."""

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
    """Rejects a machine on which nodes would wait for each other for ever.

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
    """The address under which a node's own process speaks to what listens there.

    Args:
      address: one of the node's.
      known: HOST:PORT for others.
    """
    # Reverb hands samples over inside a process only if asked through the loopback interface.
    return f"localhost:{port(known)}" if (address.name or "").startswith("reverb") else known
