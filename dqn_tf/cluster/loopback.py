"""Keeps a cluster on this machine to this machine: TensorFlow's server listens on all interfaces by itself."""

import contextlib
import ipaddress
import os
import socket

_LOOPBACK_DEVICE = b"lo"


def is_loopback(address: str) -> bool:
    """Returns whether host:port can be reached from this machine alone."""
    host = address.rpartition(":")[0].strip("[]")
    if host.lower() == "localhost":
        return True
    with contextlib.suppress(ValueError):  # a name
        return ipaddress.ip_address(host).is_loopback
    return False


def confine(port: int) -> bool:
    """Makes this process's server on `port` take connections of the loopback device only, and returns whether it did.

    Linux 5.7 or later; before, it needs a privilege.
    """
    done = False
    with contextlib.suppress(OSError, AttributeError):
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(name))) as candidate:
                is_server = candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                if is_server and candidate.getsockname()[1] == port:
                    candidate.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, _LOOPBACK_DEVICE)
                    done = True
    return done
