"""A process that ends when the one that started it is gone, however that one went."""

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def follow(parent: int) -> None:
    """Has the kernel kill this process once the thread that started it is gone (Linux; elsewhere nothing happens).

    The kernel does it even where native code keeps Python's threads from running.

    Args:
      parent: process id of the parent, which may be gone already.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
