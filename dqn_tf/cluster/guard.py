"""The watch for a process that is stuck. A library watches nothing: it must not end the process of its caller."""

import contextlib
import pathlib

from dqn_tf.cluster import topology

WAITING = "waiting for the other workers"  # in a collective: then the chief's signs of life count


class Heartbeat:
    """Takes signs of life. This one ignores them."""

    def heard(self, doing: str) -> None:
        """Notes that the run makes progress, and what it does next."""

    def heard_by_all(self, doing: str) -> None:
        """Does the same, on the chief, for all workers; may be called at any rate."""


class Guard:
    """Ends a process that is stuck, as commands need it. This one, of the library, ends none."""

    def connecting(self, seconds: float) -> contextlib.AbstractContextManager[None]:
        """Returns a context in which TensorFlow waits for its peers, at most so long; 0: no limit."""
        return contextlib.nullcontext()

    def watching(self, timeout: float, sign: pathlib.Path) -> contextlib.AbstractContextManager[Heartbeat]:
        """Returns a context with a Heartbeat, which must be given a sign of life at least every `timeout` seconds.

        Args:
          sign: a file that the chief touches as a sign of life, on a disk that all workers share.
        """
        return contextlib.nullcontext(Heartbeat())

    def watching_peers(self, cluster: topology.Topology) -> contextlib.AbstractContextManager[None]:
        """Returns a context in which a peer that is gone or frozen is noticed."""
        return contextlib.nullcontext()
