"""The workers of a cluster wait for each other in plain Python, before TensorFlow does.

MultiWorkerMirroredStrategy waits in native code that holds the interpreter lock and handles SIGTERM itself: there is
no log line and no Ctrl-C for up to an hour. Here all signals work as usual.
"""

import contextlib
import logging
import os
import select
import socket
import time

from dqn_tf.cluster import loopback, topology
from dqn_tf.cluster.clock import RunningClock
from dqn_tf.config import schema

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.15
_CONNECT_SECONDS = 2.0  # a peer that does not exist yet, or a firewall, neither accepts nor refuses
_QUIET_SECONDS, _REPORT_SECONDS = 2.0, 30.0  # before the first line, between the later ones
_MAX_NAMED = 8  # peers in a line


def wait_for_peers(cluster: topology.Topology, timeout: float = float("inf")) -> bool:
    """Returns True once all other workers have accepted a connection, False after `timeout`.

    Meanwhile this process accepts their connections on its own port, and frees it at the end. The first worker that
    returns starts TensorFlow, whose server on the same port then accepts the connections of the others. In between a
    connection is refused, and tried again. So no worker needs to know which workers have seen each other.

    Args:
      timeout: seconds; after them the missing workers are logged.
    Raises:
      config.ConfigError: this process cannot listen on its own port; also in a cluster of one worker.
    """
    peers = [address for index, address in enumerate(cluster.workers) if index != cluster.index]
    missing, said, report_at = list(peers), False, time.monotonic() + _QUIET_SECONDS
    clock = RunningClock(_CONNECT_SECONDS)
    with _listen(cluster) as listener:
        while missing:
            for address in list(missing):
                if _answers(address):
                    missing.remove(address)
                elif time.monotonic() >= report_at:
                    _log.info("cluster: waiting for %d of %d peers: %s", len(missing), len(peers), _names(missing))
                    said, report_at = True, time.monotonic() + _REPORT_SECONDS
                with contextlib.suppress(OSError):  # until none is left
                    while True:
                        listener.accept()[0].close()
                if missing and clock.seconds() >= timeout:
                    _log.error("cluster: no answer in --cluster_timeout from %s", _names(missing))
                    return False
            if missing:  # a peer that connects ends the pause
                select.select([listener], [], [], _RETRY_SECONDS)
    if said:
        _log.info("cluster: all %d peers are there", len(peers))
    return True


def _names(addresses):
    """Returns the first addresses, and how many more there are."""
    more = len(addresses) - _MAX_NAMED
    return ", ".join(addresses[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _listen(cluster):
    address = cluster.workers[cluster.index]
    (host, port), dual = _split(address), False
    if not loopback.is_loopback(address):
        host, dual = "", socket.has_dualstack_ipv6()  # a name may belong to any interface, IPv4 or IPv6
    family = socket.AF_INET6 if dual or ":" in host else socket.AF_INET
    try:  # create_server sets SO_REUSEADDR, except on Windows, where that would steal the port
        listener = socket.create_server((host, port), family=family, backlog=1024, dualstack_ipv6=dual)
    except OSError as error:
        raise schema.ConfigError(
            f"{cluster.source}: this process's address {address} cannot be listened on: {os.strerror(error.errno)}; "
            f"end what uses port {port}, or give this task another port in the cluster of every worker."
        ) from None
    listener.setblocking(False)
    return listener


def _answers(address):
    try:
        with socket.create_connection(_split(address), timeout=_CONNECT_SECONDS) as connection:
            # On loopback the kernel may connect a socket to itself, if the port is one that it assigns.
            return connection.getsockname() != connection.getpeername()
    except (OSError, UnicodeError):  # neither the peer nor its DNS name may exist yet
        return False


def _split(address):
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
