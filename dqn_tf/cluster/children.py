"""One process of a local cluster: starts it, waits for it, and forwards its output."""

import contextlib
import dataclasses
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence

from dqn_tf.process import console

_LINE_END = re.compile(rb"(\r\n|\n|\r(?=[^\n]))")  # a final \r may be the first half of \r\n


@dataclasses.dataclass(frozen=True)
class Event:
    """A worker left (`index`) or this process got a signal (`index` is None)."""

    index: int | None
    code: int  # exit code for the cluster; 0 if the worker succeeded
    reason: str
    is_urgent: bool = False  # kill all workers now


class Console:
    """Writes whole lines from many threads to this process's own stdout and stderr."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._erase = b"\x1b[K" if os.environ.get("TERM", "dumb") != "dumb" else b""

    def write(self, descriptor: int, prefix: bytes, lines: Iterable[tuple[bytes, bytes]]) -> None:
        """Writes `lines`, pairs of text and line end, each after `prefix`.

        On a terminal it first erases the rest of a progress bar, which ended in a carriage return. If the output is
        closed, lines are dropped, and training continues.
        """
        lead = (self._erase if os.isatty(descriptor) else b"") + prefix
        # A progress bar writes \r before its text. The empty text before this \r is no line.
        output = b"".join(lead + text + end for text, end in lines if text or end != b"\r")
        with self._lock:
            console.write(descriptor, output)


class Worker:
    """One process of the cluster, with the threads that wait for it and forward its output."""

    def __init__(
        self,
        index: int,
        command: Sequence[str],
        environment: Mapping[str, str],
        console: Console,
        events: queue.SimpleQueue,
        descriptors: Sequence[int] = (),
    ):
        self._index, self._console, self._events = index, console, events
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            bufsize=0,
            start_new_session=True,
            pass_fds=descriptors,
        )
        outputs = ((self._process.stdout, sys.stdout.fileno()), (self._process.stderr, sys.stderr.fileno()))
        self._waiter = threading.Thread(target=self._wait, daemon=True)
        self._forwarders = [threading.Thread(target=self._forward, args=output, daemon=True) for output in outputs]
        for thread in (self._waiter, *self._forwarders):
            thread.start()

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        """Kills the process and its session; does nothing if it has already been waited for."""
        if self._process.returncode is None:
            self._kill_session()

    def join(self, give_up: float) -> None:
        """Waits for the process, and until `give_up` (monotonic seconds) for the last of its output."""
        self._waiter.join()
        for thread in self._forwarders:
            thread.join(max(0.0, give_up - time.monotonic()))
        self._process.stdin.close()

    def _wait(self):
        status = self._process.wait()
        self._kill_session()  # its children would keep its pipes open
        code = 128 - status if status < 0 else status
        self._events.put(Event(self._index, code, f"worker {self._index}, which left with exit code {code}"))

    def _kill_session(self):
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a zombie
            os.killpg(self._process.pid, signal.SIGKILL)

    def _forward(self, pipe, descriptor):
        lead, pending = prefix(self._index).encode(), b""
        with pipe:
            while chunk := pipe.read(65536):
                *parts, pending = _LINE_END.split(pending + chunk)
                self._console.write(descriptor, lead, zip(parts[::2], parts[1::2], strict=True))
        if pending:
            text = pending.removesuffix(b"\r")
            self._console.write(descriptor, lead, [(text, b"\r" if pending.endswith(b"\r") else b"\n")])


def prefix(index: int) -> str:
    """Returns the prefix of each output line of a worker."""
    return f"[worker {index}] "
