"""Ends this process at a time, even while native code holds the interpreter's lock.

TensorFlow waits for its peers, when a cluster starts, in native code that lets no Python thread run. So the C library's
own timers do it (Linux): one writes the line, the next ends the process.
"""

import contextlib
import ctypes
import os
import sys
import threading

from dqn_tf.process import signals
from dqn_tf.process.exit_codes import EXIT_AGAIN

_SIGEV_THREAD = 2
_CLOCK_MONOTONIC = 1


class _SigEvent(ctypes.Structure):
    _fields_ = [
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("function", ctypes.c_void_p),
        ("attributes", ctypes.c_void_p),
        ("padding", ctypes.c_char * 32),
    ]


class _TimerSpec(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns")]


class Deadline:
    """A context that must be left in time, else the process ends with exit code 143; signals end it at once."""

    _GRACE_SECONDS = 1.0  # for who watches the time itself, and can say more

    def __init__(self, seconds: float):
        """Prepares; the time runs from the entry of the context on.

        Args:
          seconds: 0: without limit.
        """
        self._seconds = seconds
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Deadline":
        if self._seconds:
            line = f"cluster: TensorFlow's peers did not connect in {self._seconds:g} s (--cluster_timeout)"
            try:
                self._start_native(line)
            except (OSError, AttributeError):  # another C library
                self._start_thread(line)
        self._stack.enter_context(signals.left_to_the_kernel())
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _start_native(self, line):
        library = ctypes.CDLL(None, use_errno=True)
        self._line = ctypes.create_string_buffer(line.replace("%", "%%").encode())
        seconds = self._seconds + self._GRACE_SECONDS
        for function, argument, after in (
            (library.warnx, ctypes.addressof(self._line), seconds),
            (library._exit, EXIT_AGAIN, seconds + 0.2),
        ):
            timer, event = ctypes.c_void_p(), _SigEvent()
            event.value, event.notify = argument, _SIGEV_THREAD
            event.function = ctypes.cast(function, ctypes.c_void_p)
            when = _TimerSpec(0, 0, int(after), int(after % 1 * 1e9))
            if library.timer_create(_CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)):
                raise OSError(ctypes.get_errno(), "timer_create")
            self._stack.callback(library.timer_delete, timer)
            library.timer_settime(timer, 0, ctypes.byref(when), None)

    def _start_thread(self, line):
        def leave():
            print(line, file=sys.stderr, flush=True)
            os._exit(EXIT_AGAIN)

        timer = threading.Timer(self._seconds + self._GRACE_SECONDS, leave)
        timer.daemon = True
        timer.start()
        self._stack.callback(timer.cancel)
