"""Locks of a sweep's directory: which trials are under way, in which process. The kernel frees those of the dead."""

import contextlib
import fcntl
import pathlib
import secrets
import threading
import time
from collections.abc import Iterator

from dqn_tf.benchmark.child import RunStopped

_POLL_SECONDS = 0.5


@contextlib.contextmanager
def held(path: pathlib.Path, stop: threading.Event | None = None) -> Iterator[None]:
    """Returns a context in which this thread alone holds the lock at `path`, for which it waits.

    Raises:
      RunStopped: `stop` was set; OSError: the file cannot be opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        while not _take(file):
            if stop is not None and stop.is_set():
                raise RunStopped
            time.sleep(_POLL_SECONDS)
        yield


class Presence:
    """Says that this process is alive, for as long as it is.

    Attributes:
      name: of its file, in `directory`.
    """

    def __init__(self, directory: pathlib.Path):
        directory.mkdir(parents=True, exist_ok=True)
        self.name = secrets.token_hex(8)
        self._path = directory / self.name
        self._file = open(self._path, "ab")
        _take(self._file)

    def end(self) -> None:
        """Says that it is over."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        self._file.close()


def is_present(directory: pathlib.Path, name: str) -> bool:
    """Returns whether the process that made the Presence of this name is alive."""
    try:
        with open(directory / name, "rb") as file:
            return not _take(file)
    except OSError:
        return False


def _take(file):
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
