"""Gives a program on one machine a private network, which only its own processes can reach.

Courier and Reverb listen on all interfaces and cannot be configured otherwise. A network namespace
(`man 7 network_namespaces`) has only a loopback interface, and the machine's other interfaces are
out of reach, in both directions.
"""

import ctypes
import errno
import fcntl
import os
import socket
import struct

from absl import flags

# <linux/sched.h>
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
# <linux/sockios.h>, <linux/if.h>
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_IFREQ = "16sH22x"  # struct ifreq: the interface's name, its flags


def define_flags() -> None:
    """Defines --private_network."""
    flags.DEFINE_bool(
        "private_network",
        True,
        "Gives a program on this machine a network that nothing else reaches, and that reaches "
        "nothing else; off for environments that need the network.",
    )


def enter() -> None:
    """Moves this process and its future children to a network with only a loopback interface.

    Call it before starting threads: a multithreaded process cannot enter a new user namespace,
    which users other than root need.

    Raises:
      OSError: the system does not allow it, as in most containers.
    """
    try:
        _unshare(_CLONE_NEWNET)
    except PermissionError:
        uid, gid = os.getuid(), os.getgid()
        _unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
        # Maps the user to themselves, so that files and devices look as before.
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{uid} {uid} 1"),
            ("gid_map", f"{gid} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack(_IFREQ, b"lo", 0)
        _, flags = struct.unpack(_IFREQ, fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack(_IFREQ, b"lo", flags | _IFF_UP))


def _unshare(flags: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(flags) != 0:
        number = ctypes.get_errno() or errno.EPERM
        raise OSError(number, f"unshare: {os.strerror(number)}")
