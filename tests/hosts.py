"""Machines within this machine: network namespaces with names and addresses of their own, on one bridge.

Each has its own loopback, its own ports and its own /etc/hosts, which names them all. Linux, as root.
"""

import contextlib
import functools
import itertools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

_HOSTS_FILES = pathlib.Path("/etc/netns")  # `ip netns exec` mounts what lies there over /etc
_numbers = itertools.count()


@functools.cache
def why_not() -> str:
    """Returns why there can be no such machines here, "" where there can."""
    if sys.platform != "linux" or os.geteuid() or shutil.which("ip") is None:
        return "network namespaces need Linux, root and the program ip"
    try:
        with hosts(["probe"]):
            return ""
    except (subprocess.CalledProcessError, OSError) as error:
        return f"no network namespace can be made here: {getattr(error, 'stderr', '') or error}"


class Hosts:
    """Some machines: what runs on one reaches the others by their names, and nothing else.

    Attributes:
      addresses: IPv4 address of each, by name.
    """

    def __init__(self, names: Sequence[str]):
        self.addresses = {name: f"10.77.0.{number}" for number, name in enumerate(names, start=1)}
        self._prefix = f"dqn-{os.getpid()}-{next(_numbers)}"
        self._switch = f"{self._prefix}-switch"  # the bridge is in a namespace too: this machine's network stays as is
        self._ports = {name: f"port{number}" for number, name in enumerate(names)}

    def command(self, name: str, argv: Sequence[str]) -> list[str]:
        """Returns the command that runs `argv` on a machine. Its process is the one that `argv` becomes."""
        return ["ip", "netns", "exec", self._namespace(name), *map(str, argv)]

    def cut(self, name: str) -> None:
        """Takes a machine off the network: all that is sent to it or by it is lost without a word."""
        _ip("-n", self._switch, "link", "set", self._ports[name], "nomaster")

    def mend(self, name: str) -> None:
        """Puts a machine back on the network."""
        _ip("-n", self._switch, "link", "set", self._ports[name], "master", "bridge")

    def kill(self, name: str) -> None:
        """Kills all that runs on a machine."""
        listed = subprocess.run(["ip", "netns", "pids", self._namespace(name)], capture_output=True, text=True)
        for pid in listed.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def _make(self):
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "bridge", "up")
        known = "".join(f"{address} {name}\n" for name, address in self.addresses.items())
        for name, address in self.addresses.items():
            namespace, port = self._namespace(name), self._ports[name]
            directory = _HOSTS_FILES / namespace
            directory.mkdir(parents=True)
            (directory / "hosts").write_text(f"127.0.0.1 localhost\n{known}", encoding="utf-8")
            _ip("netns", "add", namespace)
            _ip("-n", namespace, "link", "set", "lo", "up")
            _ip("-n", self._switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
            _ip("-n", namespace, "link", "set", "eth0", "address", _mac(address))
            _ip("-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", namespace, "link", "set", "eth0", "up")
            _ip("-n", self._switch, "link", "set", port, "master", "bridge", "up")
        for name, address in self.addresses.items():  # a lost machine stays known, as behind a router: just silence
            for other in set(self.addresses.values()) - {address}:
                entry = ["neighbour", "replace", other, "lladdr", _mac(other), "dev", "eth0", "nud", "permanent"]
                _ip("-n", self._namespace(name), *entry)

    def _remove(self):
        for name in self.addresses:
            self.kill(name)
        for namespace in [*map(self._namespace, self.addresses), self._switch]:
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True)
            shutil.rmtree(_HOSTS_FILES / namespace, ignore_errors=True)

    def _namespace(self, name):
        return f"{self._prefix}-{name}"


@contextlib.contextmanager
def hosts(names: Sequence[str]) -> Iterator[Hosts]:
    """Returns a context with a machine of each name. All that runs on them is killed at its end.

    Raises:
      subprocess.CalledProcessError: they cannot be made; see `why_not`.
    """
    made = Hosts(names)
    try:
        made._make()
        yield made
    finally:
        made._remove()


def _mac(address):
    return f"02:00:00:00:00:{int(address.rpartition('.')[2]):02x}"


def _ip(*argv):
    subprocess.run(["ip", *argv], check=True, capture_output=True, text=True)
