"""Who looks whether a process is stuck. In a library nobody does: it must not end the process of its caller."""

import contextlib
import pathlib

from dqn_tf.cluster import topology

WAITING = "waiting for the other workers"  # in a collective: the chief's signs of life count then


class Heartbeat:
    """Takes signs of life. This one does nothing with them."""

    def heard(self, doing: str) -> None:
        """Notes that the run goes on, and what it does next."""

    def heard_by_all(self, doing: str) -> None:
        """The same, on the chief, for all workers; may be called at any rate."""


class Guard:
    """Ends a process that is stuck, as commands need it. This one, of the library, ends none."""

    @contextlib.contextmanager
    def connecting(self, seconds: float):
        """Returns a context in which TensorFlow waits for its peers in native code, at most so long; 0: no limit."""
        yield

    @contextlib.contextmanager
    def watching(self, timeout: float, sign: pathlib.Path):
        """Returns a context with the Heartbeat of a run that gives signs of life at least every `timeout` seconds.

        Args:
          sign: file of the chief's, whose time of change is a sign on a disk that all workers share.
        """
        yield Heartbeat()

    @contextlib.contextmanager
    def watching_peers(self, cluster: topology.Topology):
        """Returns a context in which a peer that is gone or frozen is noticed."""
        yield
