"""The signals by which a person, a platform, a closed terminal or a batch system asks a process to stop."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGXCPU", "SIGUSR1", "SIGUSR2")  # Windows has the first two
ASKING = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_SAME_SECONDS = 0.5  # programs such as `timeout` send the terminal's signal a second time


def handlers() -> dict[signal.Signals, Any]:
    """Returns the present handler of each of these signals."""
    return {number: signal.getsignal(number) for number in ASKING}


def take(handler: Callable | signal.Handlers) -> dict[signal.Signals, Any]:
    """Sets `handler` for all these signals and returns the handlers before. Main thread only.

    An ignored signal stays ignored, as after `nohup`; but not SIGINT, which shells ignore for background commands.
    """
    before = handlers()
    for number, one in before.items():
        if one != signal.SIG_IGN or number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, handler)
    return before


def give_back(before: Mapping[signal.Signals, Any]) -> None:
    """Undoes `take`."""
    for number, handler in before.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def left_to_the_kernel() -> Iterator[None]:
    """Returns a context for native code in which no Python handler can run: signals end the process at once.

    Only SIGTERM waits until the end of the context: TensorFlow handles it, and loses it while it waits for peers.
    """
    before = handlers()
    if os.getpid() != 1:  # the kernel ignores such signals for process 1
        take(signal.SIG_DFL)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        yield
    finally:
        give_back(before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class Impatience:
    """Recognizes a second Ctrl-C, which means: stop at once."""

    def __init__(self) -> None:
        self._first = None

    def grows(self, number: int) -> bool:
        """Notes a signal, and returns whether it is a SIGINT well after the first signal of all."""
        now = time.monotonic()
        if self._first is None:
            self._first = now
        return number == signal.SIGINT and now - self._first > _SAME_SECONDS
