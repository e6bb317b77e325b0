"""Starts, watches and stops a cluster of training processes on this machine.

Every worker leads a session of its own: Ctrl-C reaches only this process, which then stops the workers, and what a
worker itself started can be killed with it. The first failure, or the first signal, decides the exit code.
"""

import contextlib
import ctypes
import dataclasses
import itertools
import json
import logging
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

from dqn_tf import config

_log = logging.getLogger(__name__)

_GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL
_LEFTOVER_SECONDS = 2.0  # for the last output of workers that have left
_GPUS_DIRECTORY = "/proc/driver/nvidia/gpus"
_LINE_END = re.compile(rb"(\r\n|\n|\r(?=[^\n]))")  # a carriage return that ends the text so far may be half of \r\n
_PR_SET_PDEATHSIG = 1


@dataclasses.dataclass(frozen=True)
class _Event:
    """A worker left (`index`) or this process got a signal (`index` is None)."""

    index: int | None
    code: int  # the exit code that this event asks for; 0 for a worker that has done its work
    reason: str


def run(command: Sequence[str], num_workers: int) -> int:
    """Runs `command` as a cluster of `num_workers` processes on loopback and returns the exit code for all.

    The code is 0 if all left with 0, else that of the first worker that failed (128 + signal if it was killed),
    130 after SIGINT and 143 after SIGTERM. The other workers are then stopped: SIGTERM, SIGKILL 5 s later; a
    SIGINT in between kills them at once. None is left when this returns or raises.

    Main thread only: it handles signals, and workers die with the thread that started them (`follow_parent`).

    Args:
      command: program and arguments, the same for every worker; TF_CONFIG in its environment tells them apart.
      num_workers: processes to start; worker 0 is the chief.
    Raises:
      config.ConfigError: the visible GPUs cannot be shared out equally.
    """
    shares = _shares(visible_gpus(os.environ), num_workers)
    events = queue.SimpleQueue()  # its put may be called in a signal handler
    with _signals_to(events):
        return _run_once(command, _environments(num_workers, shares), events)


def visible_gpus(environ: Mapping[str, str], directory: str = _GPUS_DIRECTORY) -> list[str]:
    """Returns the ids of the GPUs that CUDA programs may use, without asking CUDA.

    Args:
      environ: environment variables; CUDA_VISIBLE_DEVICES, where set, is the list.
      directory: where the NVIDIA driver has one entry for each GPU.
    """
    ids = environ.get("CUDA_VISIBLE_DEVICES")
    if ids is not None:  # CUDA reads up to the first id that is none
        return list(itertools.takewhile(lambda i: i and not i.startswith("-"), map(str.strip, ids.split(","))))
    try:
        return [str(i) for i in range(len(os.listdir(directory)))]
    except OSError:
        return []


def follow_parent() -> None:
    """Ends this process, exit code 143, once the launcher that started it is gone, however it went.

    Does nothing in a process that `run` did not start. Call early and in the main thread.
    """
    if not os.environ.get("DQN_TF_LAUNCHED"):
        return
    if sys.platform == "linux":  # the kernel does it even where native code keeps the thread below from running
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_exit_after_stdin, name="follow_parent", daemon=True).start()


def _exit_after_stdin():
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    os._exit(143)


def _shares(gpus, num_workers):
    """Returns CUDA_VISIBLE_DEVICES for each worker, or None for each where there is no GPU."""
    if not gpus:
        return [None] * num_workers
    total, remedy = len(gpus), "or set CUDA_VISIBLE_DEVICES=-1 to train on CPUs."
    visible = f"{total} GPU{'s are' if total > 1 else ' is'} visible"
    if num_workers > total:
        raise config.ConfigError(f"--num_workers={num_workers} but {visible}; give {total} at most, {remedy}")
    if total % num_workers:
        divisors = [n for n in range(1, total + 1) if total % n == 0]
        below, above = max(n for n in divisors if n < num_workers), min(n for n in divisors if n > num_workers)
        raise config.ConfigError(
            f"--num_workers={num_workers} but {visible}, and every worker must have as many; "
            f"try {below} or {above}, {remedy}"
        )
    each = total // num_workers
    return [",".join(gpus[i : i + each]) for i in range(0, total, each)]


def _environments(num_workers, shares):
    """Returns the environment variables of each worker; the ports in them are free at this moment."""
    ports = _free_ports(num_workers)
    addresses = [f"127.0.0.1:{port}" for port in ports]
    _log.info(
        "cluster: %d workers on this machine, 127.0.0.1 ports %s, because neither TF_CONFIG nor --tf_config names one",
        num_workers,
        ", ".join(map(str, ports)),
    )
    common = {
        **os.environ,
        "DQN_TF_LAUNCHED": "1",
        "DQN_TF_PROGRESS": "bar" if os.isatty(sys.stderr.fileno()) else "lines",
        "COLUMNS": str(max(20, _columns() - len(_prefix(num_workers - 1)))),
        "PYTHONUNBUFFERED": "1",
    }
    environments = []
    for index, share in enumerate(shares):
        spec = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        gpus = {} if share is None else {"CUDA_VISIBLE_DEVICES": share}
        environments.append({**common, **gpus, "TF_CONFIG": json.dumps(spec)})
    return environments


def _free_ports(count):
    """Returns `count` different free ports: all are held at once before any is let go."""
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


def _prefix(index):
    return f"[worker {index}] "


@contextlib.contextmanager
def _signals_to(events):
    """Puts SIGINT and SIGTERM into `events` instead of letting them end this process."""

    def put(number, frame):
        events.put(_Event(None, 128 + number, signal.Signals(number).name))

    previous = {number: signal.signal(number, put) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _run_once(command, environments, events):
    """Runs one life of the cluster, from its start until no worker is left, and returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    console, workers = _Console(), []
    try:
        for index, environment in enumerate(environments):
            workers.append(_Worker(index, command, environment, console, events))
        return _watch(workers, events)
    finally:
        for worker in workers:
            worker.kill()
        give_up = time.monotonic() + _LEFTOVER_SECONDS
        for worker in workers:
            worker.join(give_up)


def _watch(workers, events):
    """Returns the exit code once all workers have left, after the first event with a code has stopped them."""
    code, deadline, running = 0, None, dict(enumerate(workers))
    while running:
        try:
            event = events.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            event = None
        if event and event.index is not None:
            del running[event.index]
        if event is None or (code and event.reason == "SIGINT"):
            deadline = None
            for worker in running.values():
                worker.kill()
        elif event.code and not code:
            code, deadline = event.code, time.monotonic() + _GRACE_SECONDS
            _log.warning("cluster: stopping, because of %s", event.reason)
            for worker in running.values():
                worker.terminate()
    return code


class _Console:
    """Writes whole lines from many threads to this process's own stdout and stderr."""

    def __init__(self):
        self._lock = threading.Lock()
        self._erase = b"\x1b[K" if os.environ.get("TERM", "dumb") != "dumb" else b""

    def write(self, descriptor, prefix, lines):
        """Writes `lines`, pairs of text and line end, each after `prefix`.

        On a terminal the rest of a progress bar, which ended in a carriage return, is erased first. Lines that
        nobody reads any more (a closed pipe) are dropped: training goes on.
        """
        lead = (self._erase if os.isatty(descriptor) else b"") + prefix
        # A bar is written as \r before its text: the empty text ahead of that \r is no line.
        output = b"".join(lead + text + end for text, end in lines if text or end != b"\r")
        with self._lock, contextlib.suppress(OSError):
            while output:
                output = output[os.write(descriptor, output) :]


class _Worker:
    """One process of the cluster, with the threads that wait for it and forward what it writes."""

    def __init__(self, index, command, environment, console, events):
        self._index, self._console, self._events = index, console, events
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True
        )
        outputs = ((self._process.stdout, sys.stdout.fileno()), (self._process.stderr, sys.stderr.fileno()))
        self._waiter = threading.Thread(target=self._wait, daemon=True)
        self._forwarders = [threading.Thread(target=self._forward, args=output, daemon=True) for output in outputs]
        for thread in (self._waiter, *self._forwarders):
            thread.start()

    def terminate(self):
        self._process.terminate()

    def kill(self):
        """Kills the process and all that it started in its session; does nothing once it has been reaped."""
        if self._process.returncode is None:
            self._kill_session()

    def join(self, give_up):
        """Returns when the process is reaped and its output forwarded, the latter by `give_up` (monotonic seconds)."""
        self._waiter.join()
        for thread in self._forwarders:
            thread.join(max(0.0, give_up - time.monotonic()))
        self._process.stdin.close()

    def _wait(self):
        status = self._process.wait()
        self._kill_session()  # what it left behind would keep its pipes open
        code = 128 - status if status < 0 else status
        self._events.put(_Event(self._index, code, f"worker {self._index}, which left with exit code {code}"))

    def _kill_session(self):
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a zombie
            os.killpg(self._process.pid, signal.SIGKILL)

    def _forward(self, pipe, descriptor):
        prefix, pending = _prefix(self._index).encode(), b""
        with pipe:
            while chunk := pipe.read(65536):
                *parts, pending = _LINE_END.split(pending + chunk)
                self._console.write(descriptor, prefix, zip(parts[::2], parts[1::2], strict=True))
        if pending:
            text = pending.removesuffix(b"\r")
            self._console.write(descriptor, prefix, [(text, b"\r" if pending.endswith(b"\r") else b"\n")])
