"""The guard of a command: a process that is stuck, or whose peers are gone, ends with exit code 143."""

import contextlib
import pathlib

from dqn_tf.cluster import deadline, topology
from dqn_tf.cluster.guard import Guard
from dqn_tf.cluster.watchdog import Watchdog


class ProcessGuard(Guard):
    """See Guard."""

    def connecting(self, seconds: float) -> contextlib.AbstractContextManager[None]:
        return deadline.within(seconds)

    def watching(self, timeout: float, sign: pathlib.Path) -> contextlib.AbstractContextManager[Watchdog]:
        return Watchdog(timeout, sign)

    def watching_peers(self, cluster: topology.Topology) -> contextlib.AbstractContextManager[None]:
        from dqn_tf.cluster import peers  # TensorFlow

        return peers.watched(cluster)
