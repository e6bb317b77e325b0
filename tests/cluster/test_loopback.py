"""Which addresses are this machine's own, and servers that only it can reach."""

import socket
import sys

import pytest

from dqn_tf.cluster import loopback


@pytest.mark.parametrize(
    "address, expected",
    [
        ("127.0.0.1:80", True),
        ("127.8.9.10:80", True),
        ("localhost:80", True),
        ("LOCALHOST:80", True),
        ("[::1]:80", True),
        ("10.0.0.1:80", False),
        ("0.0.0.0:80", False),
        ("[::]:80", False),
        ("worker-0.example:80", False),
    ],
)
def test_is_loopback_of_addresses(address, expected):
    assert loopback.is_loopback(address) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="SO_BINDTODEVICE")
def test_confine_binds_the_server_of_that_port_and_no_other_socket():
    with socket.create_server(("0.0.0.0", 0)) as server, socket.create_server(("0.0.0.0", 0)) as other:
        port = server.getsockname()[1]
        assert loopback.confine(port)
        devices = [one.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16) for one in (server, other)]
        assert [device.rstrip(b"\0") for device in devices] == [b"lo", b""]
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            server.accept()[0].close()


def test_confine_where_nothing_listens_says_so():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not loopback.confine(port)
