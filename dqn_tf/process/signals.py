"""The signals that ask a process to stop: by a person, a platform, a terminal that is gone, a batch system."""

import contextlib
import os
import signal
import time
from collections.abc import Callable

_NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGXCPU", "SIGUSR1", "SIGUSR2")  # Windows has the first two
ASKING = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_SAME_SECONDS = 0.5  # `timeout`, and others that pass a signal on to whom the terminal has sent it, deliver it twice


def handlers() -> dict:
    """Returns the handler of each signal that asks to stop."""
    return {number: signal.getsignal(number) for number in ASKING}


def take(handler: Callable | signal.Handlers) -> dict:
    """Makes `handler` that of every signal that asks to stop, and returns those before. Main thread only.

    What is ignored stays so, as after `nohup`; but shells have commands in the background ignore SIGINT.
    """
    before = handlers()
    for number, one in before.items():
        if one != signal.SIG_IGN or number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, handler)
    return before


def give_back(before: dict) -> None:
    """Undoes `take`."""
    for number, handler in before.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def left_to_the_kernel():
    """Returns a context for native code that lets no handler of Python's run: signals end the process at once.

    But SIGTERM, which TensorFlow takes for itself and forgets while it waits for its peers, comes at the end of it.
    """
    before = handlers()
    if os.getpid() != 1:  # which the kernel does not end
        take(signal.SIG_DFL)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        yield
    finally:
        give_back(before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class Impatience:
    """Tells a Ctrl-C that means now: whoever gives it has asked before."""

    def __init__(self):
        self._first = None

    def grows(self, number: int) -> bool:
        """Notes a signal, and returns whether it is a SIGINT well after the first signal of all."""
        now = time.monotonic()
        if self._first is None:
            self._first = now
        return number == signal.SIGINT and now - self._first > _SAME_SECONDS
