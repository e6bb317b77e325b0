"""Closes a local cluster to other machines: TensorFlow's server listens on all interfaces."""

import contextlib
import ipaddress
import os
import socket

_LOOPBACK_DEVICE = b"lo"


def is_loopback(address: str) -> bool:
    """Returns whether host:port can be reached only from this machine."""
    host = address.rpartition(":")[0].strip("[]")
    if host.lower() == "localhost":
        return True
    with contextlib.suppress(ValueError):  # a name
        return ipaddress.ip_address(host).is_loopback
    return False


def confine(port: int) -> bool:
    """Restricts this process's server on `port` to the loopback device; returns whether that worked.

    It needs Linux 5.7, or a privilege.
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
