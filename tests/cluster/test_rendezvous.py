import contextlib
import errno
import json
import logging
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from dqn_tf.cluster import rendezvous, topology
from dqn_tf.config import schema

ROOT = str(pathlib.Path(__file__).parents[2])
SECONDS = 20  # no test waits longer

# A process that meets the others, then listens on its own port, as TensorFlow does, until its stdin is closed.
WORKER = """
import logging, signal, socket, sys, time
from dqn_tf.cluster import rendezvous, topology
signal.alarm(30)
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
rendezvous._QUIET_SECONDS = float(sys.argv[1])
cluster = topology.resolve({"TF_CONFIG": sys.argv[2]})
rendezvous.wait_for_peers(cluster)
time.sleep(0.3)
server = socket.create_server(("127.0.0.1", int(cluster.workers[cluster.index].rpartition(":")[2])))
print("met", flush=True)
sys.stdin.read()
"""


def cluster_of(*workers, index=0):
    return topology.Topology(workers, index, False, "TF_CONFIG in the environment")


def free_ports(count):
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in held]


def loopback(ports):
    return [f"127.0.0.1:{port}" for port in ports]


def can_listen(family, host):
    try:
        socket.create_server((host, 0), family=family).close()
    except OSError:
        return False
    return True


@pytest.fixture
def start():
    """Returns a function that starts the worker `index` of `addresses`, in a process of its own."""
    processes = []

    def start(addresses, index, quiet=60.0):
        spec = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(quiet), json.dumps(spec)],
            env={**os.environ, "PYTHONPATH": ROOT},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate(timeout=SECONDS)


@pytest.fixture
def waiting(monkeypatch):
    """Returns a function that calls wait_for_peers in a thread, and waits for that thread at the end."""
    monkeypatch.setattr(rendezvous, "_QUIET_SECONDS", 0.3)
    threads = []

    def waiting(cluster):
        thread = threading.Thread(target=rendezvous.wait_for_peers, args=(cluster,), daemon=True)
        threads.append(thread)
        thread.start()
        return thread

    yield waiting
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()


def wait_until(condition):
    give_up = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def accepts(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_processes_of_a_cluster_when_started_in_any_order_meet(start, order):
    addresses = loopback(free_ports(3))
    processes = []
    for index in order:
        processes.append(start(addresses, index))
        time.sleep(0.1)
    assert [process.stdout.readline() for process in processes] == ["met\n"] * 3
    assert [process.communicate(timeout=SECONDS) for process in processes] == [("", "")] * 3
    assert [process.returncode for process in processes] == [0, 0, 0]


def test_wait_for_peers_when_one_is_late_says_so_once_and_says_when_all_are_there(waiting, caplog):
    caplog.set_level(logging.INFO)
    mine, early, late = free_ports(3)
    addresses = loopback([mine, early, late])
    with socket.create_server(("127.0.0.1", early)):
        thread = waiting(cluster_of(*addresses))
        wait_until(lambda: caplog.messages)
        time.sleep(0.5)
        assert thread.is_alive()
        with socket.create_server(("127.0.0.1", late)):
            thread.join(SECONDS)
    assert caplog.messages == [
        f"cluster: waiting for 1 of 2 peers: 127.0.0.1:{late}",
        "cluster: all 2 peers are there",
    ]


def test_wait_for_peers_when_several_are_late_names_them_again_and_again(waiting, monkeypatch, caplog):
    monkeypatch.setattr(rendezvous, "_REPORT_SECONDS", 0.2)
    caplog.set_level(logging.INFO)
    mine, first, second = free_ports(3)
    waiting(cluster_of(*loopback([first, mine, second]), index=1))
    wait_until(lambda: len(caplog.messages) >= 2)
    line = f"cluster: waiting for 2 of 2 peers: 127.0.0.1:{first}, 127.0.0.1:{second}"
    assert caplog.messages[:2] == [line, line]
    with socket.create_server(("127.0.0.1", first)), socket.create_server(("127.0.0.1", second)):
        wait_until(lambda: caplog.messages[-1] == "cluster: all 2 peers are there")


def test_wait_for_peers_when_a_peer_is_further_on_is_content_with_its_listening_socket(caplog):
    caplog.set_level(logging.INFO)
    mine, peer = free_ports(2)
    with socket.create_server(("127.0.0.1", peer)):
        rendezvous.wait_for_peers(cluster_of(*loopback([mine, peer])))
    assert caplog.messages == []
    socket.create_server(("127.0.0.1", mine)).close()  # the port is free again


def test_wait_for_peers_while_waiting_accepts_and_closes_any_number_of_connections(waiting):
    mine, peer = free_ports(2)
    waiting(cluster_of(*loopback([mine, peer])))
    wait_until(lambda: accepts(mine))
    for _ in range(200):
        with socket.create_connection(("127.0.0.1", mine), timeout=SECONDS) as connection:
            assert connection.recv(1) == b""
    with socket.create_server(("127.0.0.1", peer)):
        wait_until(lambda: not accepts(mine))


def test_wait_for_peers_when_connected_to_itself_goes_on_waiting(waiting, monkeypatch):
    mine, peer = free_ports(2)
    real, knocks = socket.create_connection, []

    def create_connection(address, timeout):
        knocks.append(address)
        if len(knocks) > 2:
            return real(address, timeout)
        connection = socket.socket()
        connection.bind(("127.0.0.1", 0))
        connection.connect(connection.getsockname())
        return connection

    monkeypatch.setattr(socket, "create_connection", create_connection)
    thread = waiting(cluster_of(*loopback([mine, peer])))
    wait_until(lambda: len(knocks) > 2)
    assert thread.is_alive()
    with socket.create_server(("127.0.0.1", peer)):
        thread.join(SECONDS)


def test_wait_for_peers_when_a_name_does_not_resolve_yet_tries_again(waiting, monkeypatch):
    mine, peer = free_ports(2)
    real, names = socket.getaddrinfo, []

    def getaddrinfo(host, *args, **kwargs):
        if host != "late.invalid":
            return real(host, *args, **kwargs)
        names.append(host)
        if len(names) <= 2:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real("127.0.0.1", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with socket.create_server(("127.0.0.1", peer)):
        waiting(cluster_of(f"127.0.0.1:{mine}", f"late.invalid:{peer}")).join(SECONDS)
    assert names == ["late.invalid"] * 3


@pytest.mark.parametrize("num_workers", [1, 2])
def test_wait_for_peers_when_its_own_port_is_taken_says_so_at_once(num_workers):
    port, *peers = free_ports(num_workers)
    with socket.create_server(("127.0.0.1", port)), pytest.raises(schema.ConfigError) as error:
        rendezvous.wait_for_peers(cluster_of(*loopback([port, *peers])))
    assert list(error.value.problems) == [
        f"TF_CONFIG in the environment: this process's address 127.0.0.1:{port} cannot be listened on: "
        f"{os.strerror(errno.EADDRINUSE)}; end what uses port {port}, or give this task another port in the cluster "
        "of every worker."
    ]


def test_wait_for_peers_of_thousands_names_the_first(caplog):
    (mine,) = free_ports(1)
    addresses = [f"127.0.0.1:{mine}", *(f"worker-{i}.invalid:1" for i in range(1, 5000))]
    assert not rendezvous.wait_for_peers(cluster_of(*addresses), timeout=0)
    assert caplog.messages == [
        "cluster: no answer in --cluster_timeout from worker-1.invalid:1, worker-2.invalid:1, worker-3.invalid:1, "
        "worker-4.invalid:1, worker-5.invalid:1, worker-6.invalid:1, worker-7.invalid:1, worker-8.invalid:1 "
        "and 4991 more"
    ]


def test_wait_for_peers_in_a_cluster_of_one_waits_for_nobody():
    (port,) = free_ports(1)
    assert rendezvous.wait_for_peers(cluster_of(f"127.0.0.1:{port}"), timeout=0)


@pytest.mark.skipif(not can_listen(socket.AF_INET6, "::1"), reason="this machine has no IPv6")
def test_wait_for_peers_with_ipv6_addresses_in_brackets_meets_them(waiting):
    mine, peer = free_ports(2)
    thread = waiting(cluster_of(f"[::1]:{mine}", f"[::1]:{peer}"))
    wait_until(lambda: accepts(mine, "::1"))
    assert not accepts(mine)  # a loopback address is not opened to the world
    assert thread.is_alive()
    with socket.create_server(("::1", peer), family=socket.AF_INET6):
        thread.join(SECONDS)


def test_wait_for_peers_under_a_name_is_found_at_every_address_of_this_machine(waiting):
    mine, peer = free_ports(2)
    waiting(cluster_of(f"worker-0.invalid:{mine}", f"127.0.0.1:{peer}"))
    wait_until(lambda: accepts(mine))
    assert accepts(mine, "::1") or not can_listen(socket.AF_INET6, "::1")
    with socket.create_server(("127.0.0.1", peer)):
        wait_until(lambda: not accepts(mine))


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, -signal.SIGINT)])
def test_signals_while_waiting_for_a_peer_end_the_process(start, number, code):
    mine, peer = free_ports(2)
    process = start(loopback([mine, peer]), 0, quiet=0.0)
    assert process.stdout.readline() == f"cluster: waiting for 1 of 1 peers: 127.0.0.1:{peer}\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == code
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
