"""The guard of a command: a process that is stuck, or whose peers are gone, ends with exit code 143."""

import contextlib

from dqn_tf.cluster.deadline import Deadline
from dqn_tf.cluster.guard import Guard
from dqn_tf.cluster.watchdog import Watchdog


class ProcessGuard(Guard):
    """See Guard."""

    def connecting(self, seconds):
        return Deadline(seconds)

    @contextlib.contextmanager
    def watching(self, timeout, sign):
        watchdog = Watchdog(timeout, sign).start()
        try:
            yield watchdog
        finally:
            watchdog.stop()

    @contextlib.contextmanager
    def watching_peers(self, cluster):
        from dqn_tf.cluster.peers import PeerWatch  # TensorFlow

        watch = PeerWatch(cluster).start()
        try:
            yield
        finally:
            watch.stop()
