"""Notices that a peer is gone or frozen while this process is busy with something else than a collective."""

import logging
import os
import threading

import tensorflow as tf
from tensorflow.python.eager import context

from dqn_tf.cluster import topology
from dqn_tf.process.exit_codes import EXIT_AGAIN

_log = logging.getLogger(__name__)

_PERIOD_SECONDS = 2.0
_ANSWER_SECONDS = 4.0
_SETTLE_SECONDS = 1.0


class PeerWatch:
    """Asks the leader, or as the leader all others, whether they are there; leaves with 143 where one is not.

    The others then lose their leader, so all leave.
    """

    def __init__(self, cluster: topology.Topology):
        """Prepares; `start` begins to watch."""
        self._peers = range(1, cluster.num_workers) if cluster.is_chief else [0]
        self._has_chief = cluster.has_chief
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peer_watch", daemon=True)

    def start(self) -> "PeerWatch":
        """Begins to watch, once TensorFlow is connected, and returns itself."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Watches no longer: from here on peers may leave, and so may this process."""
        self._stopped.set()
        self._thread.join(_ANSWER_SECONDS)  # TensorFlow must not be taken down under it

    def _watch(self):
        while not self._stopped.wait(_PERIOD_SECONDS):
            for peer in self._peers:
                error = self._ask(peer)
                # Once more: a busy machine may be late, and a run that has just ended says so meanwhile.
                if error and not self._stopped.wait(_SETTLE_SECONDS) and self._ask(peer) and not self._stopped.is_set():
                    _log.error("worker %d does not answer (%s): leaving with exit code %d", peer, error, EXIT_AGAIN)
                    os._exit(EXIT_AGAIN)

    def _ask(self, peer):
        """Returns why a peer does not answer, "" where it does."""
        try:
            context.context().check_collective_ops_peer_health(self._task(peer), int(1e3 * _ANSWER_SECONDS))
        except tf.errors.OpError as error:
            return type(error).__name__.removesuffix("Error")
        return ""

    def _task(self, peer):
        if self._has_chief:
            return "/job:chief/replica:0/task:0" if peer == 0 else f"/job:worker/replica:0/task:{peer - 1}"
        return f"/job:worker/replica:0/task:{peer}"
