"""Notices that a peer is gone or frozen while this process is not in a collective."""

import contextlib
import logging
import os
import threading
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.python.eager import context

from dqn_tf.cluster import topology
from dqn_tf.process.exit_codes import EXIT_AGAIN

_log = logging.getLogger(__name__)

_PERIOD_SECONDS = 2.0
_ANSWER_SECONDS = 4.0
_SETTLE_SECONDS = 1.0


@contextlib.contextmanager
def watched(cluster: topology.Topology) -> Iterator[None]:
    """Returns a context, to be entered once TensorFlow is connected, that watches the peers.

    The leader asks all other workers whether they answer, and they ask the leader. If one does not, this process leaves
    with exit code 143. So if one worker is lost, the leader leaves, and then all do.
    """
    stopped = threading.Event()
    thread = threading.Thread(target=_watch, args=(cluster, stopped), name="peer_watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(_ANSWER_SECONDS)  # TensorFlow must not be shut down while the thread asks


def _watch(cluster, stopped):
    peers = range(1, cluster.num_workers) if cluster.is_chief else [0]
    while not stopped.wait(_PERIOD_SECONDS):
        for peer in peers:
            error = _ask(cluster, peer)
            # Twice: a busy machine may be late, and a run that has just ended sets `stopped` meanwhile.
            if error and not stopped.wait(_SETTLE_SECONDS) and _ask(cluster, peer) and not stopped.is_set():
                _log.error("worker %d does not answer (%s): leaving with exit code %d", peer, error, EXIT_AGAIN)
                os._exit(EXIT_AGAIN)


def _ask(cluster, peer):
    """Returns why a peer does not answer, "" if it does."""
    role, index = cluster.task(peer)
    try:
        context.context().check_collective_ops_peer_health(
            f"/job:{role}/replica:0/task:{index}", int(1e3 * _ANSWER_SECONDS)
        )
    except tf.errors.OpError as error:
        return type(error).__name__.removesuffix("Error")
    return ""
