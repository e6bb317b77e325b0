"""One run on one worker, from its plan to its results."""

import contextlib
import dataclasses
import json
import logging
import os
import time
from collections.abc import Sequence

import tensorflow as tf

from dqn_tf.cluster import launcher, loopback, rendezvous
from dqn_tf.cluster.guard import WAITING, Guard
from dqn_tf.config import schema as config_lib
from dqn_tf.config import settings
from dqn_tf.config.schema import ConfigError
from dqn_tf.distribution import arithmetic, strategy
from dqn_tf.evaluation.continuous import ContinuousEvaluator
from dqn_tf.evaluation.evaluator import settle_limit
from dqn_tf.persistence import identity, locations, manifest
from dqn_tf.persistence.mirror import Unreachable
from dqn_tf.persistence.progress import Progress
from dqn_tf.persistence.run_directory import RunDirectory
from dqn_tf.persistence.storage import FOLLOWER, Storage
from dqn_tf.process import hardware, reasons
from dqn_tf.process.stopping import Stop
from dqn_tf.reporting.reporter import Reporter
from dqn_tf.training import builder, finish, resuming
from dqn_tf.training.callbacks import Callback, Callbacks
from dqn_tf.training.loop import Loop, NotSaved
from dqn_tf.training.plan import Plan

_log = logging.getLogger(__name__)

_VISIBLE_SECONDS = 30.0  # mounted buckets show a new file after a while
# What a collective may end with where a peer is gone or silent.
_PEER_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)
_AMBIGUOUS = (tf.errors.FailedPreconditionError, tf.errors.InternalError, tf.errors.UnknownError)
_NO_GUARD = Guard()
_WORDS_OF_PEERS = ("/job:", "collective", "heartbeat", "coordination", "peer", "socket", "connection")


class WorkerLost(Exception):
    """A worker of the cluster is gone, silent or was not there in time: all must start again."""


def train(plan: Plan, stop: Stop, callbacks: Sequence[Callback] = (), guard: Guard = _NO_GUARD) -> str:
    """Trains, and returns the directory or bucket of the run.

    Args:
      callbacks: the user's.
      guard: ends this process if it is stuck.
    Raises:
      ConfigError: the user's mistake.
      UserCodeFailure, EnvironmentLost: an environment, the network or a callback has failed; the run has been saved.
      NotSaved: the last checkpoint or the results could not be written.
      Unreachable: nor read from a bucket; to be started again.
      Taken: another command writes the same run.
      Stopped: a signal came, and the run has been saved.
      WorkerLost: to be started again.
    """
    storage = Storage(plan.locations, plan.directory, "chief" if plan.is_chief else "worker")
    storage.open()
    if plan.locations.is_bucket:
        plan.directory.check(plan.config)
        plan.directory.check_environment(plan.spec)
    if plan.locations.is_bucket and plan.says_finished() or plan.is_finished:
        _deliver(plan, storage)
    else:
        storage.claim()
        plan = _start(plan, storage, stop, callbacks, guard)
    storage.leave()
    return plan.locations.run


def evaluate(plan: Plan) -> int:
    """Evaluates the checkpoints of a run that others train, until it ends; returns the exit code. Raises as `train`."""
    storage = Storage(plan.locations, plan.directory, FOLLOWER)
    return ContinuousEvaluator(plan.directory, storage, plan.typed, plan.config.cluster).run()


def _deliver(plan, storage):
    """Copies the results of a finished run to places that lack them."""
    try:
        if plan.is_chief:
            storage.deliver()
    except Unreachable as error:
        if not error.is_mistake:
            raise
        raise NotSaved(f"{error.filename}: {error.strerror}") from error


def _start(plan, storage, stop, callbacks, guard):
    config, threads = plan.config, plan.threads
    if plan.cluster is not None:
        _meet(plan.cluster, config.cluster.cluster_timeout or float("inf"))
    arithmetic.set_up(config.hardware)
    with guard.connecting(config.cluster.cluster_timeout) if plan.cluster else contextlib.nullcontext():
        placement = strategy.create(
            config.cluster.strategy, config.cluster.num_replicas, plan.cluster, threads.learner, threads.operations
        )
    if plan.has_gpu and not placement.gpus:
        seen = "there seems to be a GPU, by its driver or CUDA_VISIBLE_DEVICES, but TensorFlow sees none"
        _log.warning("%s: pip install 'tensorflow[and-cuda]', see docs/gpu.md", seen)
    problem = arithmetic.problem(config.hardware, hardware.has_bfloat16())
    if told := list(filter(None, placement.exchange(problem))):
        raise ConfigError(told[0])
    if placement.num_workers > 1:
        plan, storage = _with_directory_of_chief(plan, storage, placement)
        _check_alike(config, placement)
    if plan.cluster is not None:
        _confine(plan.cluster)
    if placement.is_chief:
        _log.info("threads: %s", threads.reason)
    problems = config_lib.check_division(config, placement.num_workers, placement.replicas_per_worker)
    if problems:
        raise ConfigError(*problems)
    has_peers = placement.num_workers > 1
    try:
        with guard.watching(config.cluster.round_timeout, plan.directory.lock_path) as heartbeat:
            with guard.watching_peers(plan.cluster) if has_peers else contextlib.nullcontext():
                end = _train(plan, storage, placement, stop, heartbeat, callbacks)
            placement.barrier()  # no worker leaves while another still needs it
        end()
        return plan
    except _PEER_LOST as error:
        if not has_peers or not _is_of_peers(error):
            raise
        raise WorkerLost(f"a worker was lost: {_reason(error)}") from error
    except NotSaved as error:
        if storage.is_behind:
            raise Unreachable(0, str(error), plan.locations.run) from error
        raise


def _with_directory_of_chief(plan, storage, placement):
    """Returns Plan and Storage; a worker that was given no --logdir writes where the chief does.

    Raises ConfigError on all workers where only some of them keep the run in a bucket.
    """
    where = plan.locations
    is_told = where.is_default and not placement.is_chief
    mine = where.run if where.is_bucket else os.path.abspath(where.run)
    given = placement.exchange("" if is_told else mine)
    if any(locations.is_bucket(place) != locations.is_bucket(given[0]) for place in given):
        raise ConfigError(f"--logdir={given[0]} is the chief's; give it to all workers.")
    if not is_told:
        return plan, storage
    where, directory = dataclasses.replace(where, run=given[0]), RunDirectory(given[0])
    return dataclasses.replace(plan, locations=where, directory=directory), Storage(where, directory, "worker")


def _check_alike(config, placement):
    """Raises ConfigError, on all workers, where one was given other settings than the chief."""
    mine = settings.to_json(config)
    chief = json.loads(placement.exchange(json.dumps(mine) if placement.is_chief else "")[0])
    told = placement.exchange("\n".join(identity.unlike(chief, mine)))
    if any(told):
        lines = [f"worker {i}: {line}" for i, text in enumerate(told) for line in text.splitlines()]
        raise ConfigError(*lines)


def _meet(cluster, timeout):
    """Waits for the other workers. Raises WorkerLost if they are not there in time."""
    try:
        if rendezvous.wait_for_peers(cluster, timeout):
            return
        raise WorkerLost("not all workers of the cluster were there in time")
    except ConfigError as error:
        if not launcher.is_launched():
            raise
        # The launcher chose a port that somebody has taken since: it chooses another.
        raise WorkerLost(str(error)) from error


def _confine(cluster):
    """Keeps others than this machine from a cluster of this machine, which has no authentication."""
    port = int(cluster.workers[cluster.index].rpartition(":")[2])
    if cluster.num_workers > 1 and all(map(loopback.is_loopback, cluster.workers)) and not loopback.confine(port):
        _log.warning("cluster: TensorFlow's port %d is open to the network, see docs/security.md", port)


def _is_of_peers(error):
    """Returns whether an error that may have other causes too tells of a peer or a collective."""
    message = error.message.lower()
    return not isinstance(error, _AMBIGUOUS) or any(word in message for word in _WORDS_OF_PEERS)


def _reason(error):
    """Returns the line of a TensorFlow error that says what happened: the first ones say where."""
    lines = reasons.lines(error)
    return next((line for line in lines if "UNAVAILABLE" in line or "heartbeat" in line), type(error).__name__)


def _train(plan, storage, placement, stop, heartbeat, callbacks):
    config, directory = plan.config, plan.directory
    if placement.is_chief:
        made = manifest.newest_readable(directory.checkpoints)
        config = settle_limit(config, plan.spec, made.config if made else {})
        plan = dataclasses.replace(plan, config=config)
        directory.begin(config)
    if placement.num_workers > 1 and not storage.is_private:
        _check_shared(placement, directory)
    heartbeat.heard("building and restoring")
    progress = Progress()
    parts = builder.build(plan, placement, progress, storage)
    try:
        restored = resuming.restore(plan, parts, progress)
        reporter = Reporter(
            config,
            directory,
            storage,
            progress,
            parts.learner.num_updates,
            placement.is_chief,
            plan.started,
            plan.spec.frames_per_step,
            restored.journal if restored else {},
        )
        if placement.is_chief:
            _log.info("run: %s, seed %d, in %s", config.run.env, config.run.seed, directory.name)
        goal = config.evaluation.stop_at_return
        told = Callbacks(callbacks, goal, progress, placement, reporter.wall_seconds)
        loop = Loop(config, parts, progress, reporter, stop, heartbeat, told, restored)
        loop.run()
        heartbeat.heard("evaluating the best model and writing the results")
        if placement.is_chief:
            summary = finish.finish(plan, parts, progress, reporter, storage, loop.utilization.overall(), heartbeat)
        heartbeat.heard(WAITING)
        placement.barrier()  # for the results
        return lambda: told.end(summary) if placement.is_chief else None
    finally:
        parts.actor.close()
        if parts.evaluator:
            parts.evaluator.close()


def _check_shared(placement, directory):
    """Raises ConfigError, on all workers, where one does not see what the chief has written."""
    placement.barrier()
    give_up = time.monotonic() + _VISIBLE_SECONDS
    while not (directory.path / "config.json").exists() and time.monotonic() < give_up:
        time.sleep(0.5)
    if placement.max(0.0 if (directory.path / "config.json").exists() else 1.0):
        raise ConfigError(
            f"--logdir={directory.path}: not all workers see the chief's config.json there; "
            "give all workers one directory that all of them see."
        )
