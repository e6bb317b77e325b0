"""Ends this process at a time, even while native code holds the interpreter's lock.

TensorFlow waits for its peers, when a cluster starts, in native code that lets no Python thread run. So two timers of
the C library do it: one writes the line, the next ends the process. Linux only; elsewhere TensorFlow's own limit holds.
"""

import contextlib
import ctypes
import sys
from collections.abc import Iterator

from dqn_tf.process import signals
from dqn_tf.process.exit_codes import EXIT_AGAIN

_GRACE_SECONDS = 1.0  # for code that watches the time itself and can say more
_SIGEV_THREAD = 2
_CLOCK_MONOTONIC = 1


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Returns a context that must end in time, else the process ends with exit code 143; signals end it at once.

    Args:
      seconds: 0: without limit.
    """
    with contextlib.ExitStack() as stack:
        if seconds and sys.platform == "linux":
            line = f"cluster: TensorFlow's peers did not connect in {seconds:g} s (--cluster_timeout)"
            text = ctypes.create_string_buffer(line.encode())
            _start_timer(stack, "warnx", ctypes.addressof(text), seconds + _GRACE_SECONDS)
            _start_timer(stack, "_exit", EXIT_AGAIN, seconds + _GRACE_SECONDS + 0.2)
        stack.enter_context(signals.left_to_the_kernel())
        yield


def _start_timer(stack, name, argument, seconds):
    """Has the C library call its function `name` after so many seconds, unless `stack` is left before."""
    library = ctypes.CDLL(None, use_errno=True)
    function = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
    event = (ctypes.c_uint64 * 8)(argument, _SIGEV_THREAD << 32, function)  # struct sigevent, little-endian
    timer, when = ctypes.c_void_p(), (ctypes.c_long * 4)(0, 0, int(seconds), int(seconds % 1 * 1e9))
    if library.timer_create(_CLOCK_MONOTONIC, event, ctypes.byref(timer)):
        raise OSError(ctypes.get_errno(), "timer_create")
    stack.callback(library.timer_delete, timer)
    library.timer_settime(timer, 0, when, None)
