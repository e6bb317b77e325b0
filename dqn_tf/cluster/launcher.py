"""Starts, watches, restarts and stops a cluster of training processes on this machine.

Every worker is in a session of its own. So Ctrl-C reaches only this process, which then stops the workers, and a
worker can be killed together with its own children. The first failure, or the first signal, decides the exit code.
"""

import contextlib
import json
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence

from dqn_tf.cluster import children
from dqn_tf.config import schema
from dqn_tf.process import gpus, lifeline, signals
from dqn_tf.process.exit_codes import EXIT_AGAIN

_log = logging.getLogger(__name__)

_SETTLE_SECONDS = 3.0  # after a failure: for the other workers to notice it and to leave by themselves
_GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL then
_SAVE_SECONDS = 110.0  # between SIGTERM and SIGKILL if this process is asked to stop: the workers save first
_MAX_PAUSE_SECONDS = 60.0
_LEFTOVER_SECONDS = 2.0  # for the last output of workers that have left
_MAX_NAMED = 8  # ports in a line
_LOCK = "DQN_TF_LOCK"  # the descriptor, in the chief


def run(
    command: Sequence[str],
    num_workers: int,
    max_restarts: int = 0,
    restart_arguments: Sequence[str] = (),
    progress: Callable[[], int | None] = lambda: None,
    lock: int | None = None,
) -> int:
    """Runs `command` as a cluster of `num_workers` processes on loopback and returns one exit code for all.

    The code is 0 if all workers left with 0, and 128 + its number after a signal that asks to stop. Else it is the code
    of the first worker that failed (128 + signal if it was killed); codes below 128 tell the cause and are preferred.
    After a failure the other workers are stopped. None is left when this returns or raises.

    If a worker left with 143 or was killed, all are started again, after a pause that grows.

    Main thread only: it handles signals, and workers die with the thread that started them (`follow_parent`).

    Args:
      command: program and arguments, the same for every worker; TF_CONFIG tells the workers apart.
      num_workers: processes to start; worker 0 is the chief.
      max_restarts: how often they are started again without progress in between.
      restart_arguments: added to the command when it is started again.
      progress: returns a number that changes when the run makes progress.
      lock: descriptor of a locked file; the chief inherits it, and so the lock.
    Raises:
      config.ConfigError: the visible GPUs cannot be shared out equally.
    """
    shares = _shares(gpus.visible_gpus(os.environ), num_workers)
    events = queue.SimpleQueue()  # its put may be called in a signal handler
    life, count, reached = command, 0, progress()
    with _signals_to(events):
        while True:
            code, is_lost = _run_once(life, _environments(num_workers, shares), events, lock)
            if not is_lost or not max_restarts:
                return code
            count, reached = (count, reached) if progress() == reached else (0, progress())
            if count == max_restarts:
                _log.error(
                    "cluster: lost %d times without a new checkpoint in between (--max_restarts=%d), giving up",
                    count + 1,
                    max_restarts,
                )
                return code
            life, pause, count = [*command, *restart_arguments], min(2.0**count, _MAX_PAUSE_SECONDS), count + 1
            _log.warning("cluster: starting all again in %.0f s, try %d of %d", pause, count, max_restarts)
            with contextlib.suppress(queue.Empty):
                return events.get(timeout=pause).code


def is_launched() -> bool:
    """Returns whether `run` has started this process."""
    return bool(os.environ.get("DQN_TF_LAUNCHED"))


def take_lock() -> int | None:
    """Returns the descriptor of the locked file from `run`; None if there is none, or at the second call."""
    descriptor = os.environ.pop(_LOCK, None)
    if descriptor is None:
        return None
    os.set_inheritable(int(descriptor), False)
    return int(descriptor)


def follow_parent() -> None:
    """Ends this process with exit code 143 when the launcher that started it ends for any reason.

    Does nothing in a process that `run` did not start. Call it early and in the main thread.
    """
    if not is_launched():
        return
    lifeline.follow(os.getppid())
    threading.Thread(target=_exit_after_stdin, name="follow_parent", daemon=True).start()


def _exit_after_stdin():
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    os._exit(EXIT_AGAIN)


def _shares(ids, num_workers):
    """Returns CUDA_VISIBLE_DEVICES for each worker, or None for each if there is no GPU."""
    if not ids:
        return [None] * num_workers
    total, remedy = len(ids), "or set CUDA_VISIBLE_DEVICES=-1 to train on CPUs."
    visible = f"{total} GPU{'s are' if total > 1 else ' is'} visible"
    if num_workers > total:
        raise schema.ConfigError(f"--num_workers={num_workers} but {visible}; give {total} at most, {remedy}")
    if total % num_workers:
        divisors = [n for n in range(1, total + 1) if total % n == 0]
        below, above = max(n for n in divisors if n < num_workers), min(n for n in divisors if n > num_workers)
        raise schema.ConfigError(
            f"--num_workers={num_workers} but {visible}, and every worker must have as many; "
            f"try {below} or {above}, {remedy}"
        )
    each = total // num_workers
    return [",".join(ids[i : i + each]) for i in range(0, total, each)]


def _environments(num_workers, shares):
    """Returns the environment variables of each worker, with ports that are free now."""
    ports = _free_ports(num_workers)
    addresses = [f"127.0.0.1:{port}" for port in ports]
    _log.info(
        "cluster: %d workers on this machine, 127.0.0.1 ports %s, because nothing names a cluster",
        num_workers,
        ", ".join(map(str, ports[:_MAX_NAMED])) + (", ..." if num_workers > _MAX_NAMED else ""),
    )
    common = {
        **os.environ,
        "DQN_TF_LAUNCHED": "1",
        "DQN_TF_PROGRESS": "bar" if os.isatty(sys.stderr.fileno()) else "lines",
        "COLUMNS": str(max(20, _columns() - len(children.prefix(num_workers - 1)))),
        "PYTHONUNBUFFERED": "1",
    }
    environments = []
    for index, share in enumerate(shares):
        spec = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        gpus = {} if share is None else {"CUDA_VISIBLE_DEVICES": share}
        environments.append({**common, **gpus, "TF_CONFIG": json.dumps(spec)})
    return environments


def _free_ports(count):
    """Returns `count` different free ports; all are bound before the first is released."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for held in sockets:
            held.bind(("127.0.0.1", 0))
        return [held.getsockname()[1] for held in sockets]


def _columns():
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80


@contextlib.contextmanager
def _signals_to(events):
    """Puts the signals that ask to stop into `events` instead of letting them end this process."""
    impatience = signals.Impatience()

    def put(number, frame):
        is_urgent = impatience.grows(number)
        events.put(children.Event(None, 128 + number, signal.Signals(number).name, is_urgent))

    before = signals.take(put)
    try:
        yield
    finally:
        signals.give_back(before)


def _run_once(command, environments, events, lock):
    """Starts the cluster once and waits until no worker is left; returns what `_watch` does."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    console, workers = children.Console(), []
    try:
        for index, environment in enumerate(environments):
            inherited = () if lock is None or index else (lock,)
            if inherited:
                environment = {**environment, _LOCK: str(lock)}
            workers.append(children.Worker(index, command, environment, console, events, inherited))
        return _watch(workers, events)
    finally:
        for worker in workers:
            worker.kill()
        give_up = time.monotonic() + _LEFTOVER_SECONDS
        for worker in workers:
            worker.join(give_up)


def _watch(workers, events):
    """Waits for all workers; returns the exit code, and whether workers were lost so that all may be started again.

    A signal is passed on at once, with time to save. After a failure the other workers first get time to notice it.
    """
    left, signalled, is_stopping = [], 0, False
    running, due = dict(enumerate(workers)), []  # when to do what to those that run
    while running:
        event = _next(events, due)
        if event is None:
            end = due.pop(0)[1]
            for worker in running.values():
                end(worker)
            continue
        if event.index is not None:
            del running[event.index]
            left.append(event)
        if event.code and not is_stopping:
            is_stopping, now = True, time.monotonic()
            _log.warning("cluster: stopping, because of %s", event.reason)
            patience = _SETTLE_SECONDS if event.index is not None else 0.0
            grace = _GRACE_SECONDS if event.index is not None else _SAVE_SECONDS
            due = [(now + patience, children.Worker.terminate), (now + patience + grace, children.Worker.kill)]
        elif event.is_urgent:
            due = [(time.monotonic(), children.Worker.kill)]
        if event.index is None:
            signalled = signalled or event.code
    if signalled:
        return signalled, False
    failures = [event for event in left if event.code]
    if not failures:
        return 0, False
    decisive = next((event for event in failures if event.code < 128), failures[0])
    if decisive is not failures[0]:
        _log.warning("cluster: the cause is %s", decisive.reason)
    code = decisive.code
    return code, code == EXIT_AGAIN or code >= 128 and code - 128 not in signals.ASKING


def _next(events, due):
    """Returns the next event, or None if something is due before."""
    try:
        return events.get(timeout=max(0.0, due[0][0] - time.monotonic()) if due else None)
    except queue.Empty:
        return None
