"""Ends a process when its parent has ended for any reason."""

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def follow(parent: int) -> None:
    """Tells the kernel to kill this process when the thread that started it ends. Linux only.

    That works even while native code holds the interpreter's lock.

    Args:
      parent: process id of the parent, which may have ended already.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
