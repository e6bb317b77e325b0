"""Copies of a local directory's files in a bucket, or in another directory, by tf.io.gfile.

An object store has neither rename nor append nor lock: what a run writes lies on a disk, and is copied whole.
"""

import contextlib
import errno
import os
import pathlib
import uuid
from collections.abc import Callable, Iterable

import tensorflow as tf

from dqn_tf.config import ConfigError

_OWNER = ".owner"
# What is the user's to mend: starting again would not help.
_MISTAKES = (
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.UnauthenticatedError,
    tf.errors.InvalidArgumentError,
    tf.errors.UnimplementedError,
)


class Unreachable(OSError):
    """The other place does not answer or does not let us; later it may."""


class Taken(Exception):
    """Another process writes to the other place; this one must not."""


class Mirror:
    """Copies files there and back; what both sides have is remembered, and not copied twice."""

    def __init__(self, local: pathlib.Path, place: str, is_wanted: Callable[[str], bool] = lambda name: True):
        """Prepares; nothing is read or written.

        Args:
          place: gs://BUCKET/path or a directory.
          is_wanted: whether a file of the local directory, by its name there with slashes, is copied and removed.
        """
        self._local = local
        self._place = place.rstrip("/")
        self._is_wanted = is_wanted
        self._known: dict[str, tuple[int, int]] = {}  # by name, what the local file was when both were the same
        self._owner = ""

    def names(self, below: str = "") -> list[str]:
        """Returns the names of all files there, those `below` a directory alone where one is given."""
        top = f"{self._place}/{below}" if below else self._place
        found = self._attempt(lambda: list(tf.io.gfile.walk(top)))
        paths = [f"{directory.rstrip('/')}/{name}" for directory, _, names in found for name in names]
        return sorted(path.removeprefix(f"{self._place}/") for path in paths if not path.endswith("/"))

    def size(self, name: str) -> int:
        """Returns the bytes of a file there, -1 where there is none. Raises Unreachable."""
        with contextlib.suppress(tf.errors.NotFoundError):
            return self._attempt(lambda: tf.io.gfile.stat(f"{self._place}/{name}").length)
        return -1

    def pull(self, names: Iterable[str]) -> None:
        """Copies files from there; those that are not there are not here either, afterwards. Raises Unreachable."""
        for name in names:
            path = self._local / name
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._attempt(lambda source, target: tf.io.gfile.copy(source, target, overwrite=True),
                              f"{self._place}/{name}", str(path))
            except tf.errors.NotFoundError:
                path.unlink(missing_ok=True)
                continue
            self._known[name] = _signature(path)

    def push(self) -> None:
        """Makes what is there as it is here: manifests after what they name, and before it where they go.

        Files that this process has neither pulled nor pushed are another's, and stay.

        Raises:
          Unreachable: it cannot be written; `push` may be tried again.
          Taken: another process has claimed the place.
        """
        here = {name: _signature(path) for name, path in self._files() if self._is_wanted(name)}
        changed = [name for name, signature in here.items() if self._known.get(name) != signature]
        gone = [name for name in self._known if name not in here and self._is_wanted(name)]
        if changed or gone:
            self._check_owner()
        for name in sorted(changed, key=_rank):
            self._attempt(self._upload, name)
            self._known[name] = here[name]
        for name in sorted(gone, key=_rank, reverse=True):
            with contextlib.suppress(tf.errors.NotFoundError):
                self._attempt(tf.io.gfile.remove, f"{self._place}/{name}")
            del self._known[name]

    def claim(self) -> None:
        """Makes this process the one that writes there; another finds out at its next `push`.

        Raises:
          ConfigError: the place is not one that can be written.
        """
        self._owner = uuid.uuid4().hex
        path = f"{self._place}/{_OWNER}"
        try:
            self._make_directory(path)
            with tf.io.gfile.GFile(path, "w") as file:
                file.write(self._owner)
        except _MISTAKES as error:
            raise ConfigError(f"{self._place} cannot be written, use another place: {_reason(error)}") from None
        except tf.errors.OpError as error:
            raise self._unreachable(error) from None

    def _check_owner(self):
        if not self._owner:
            return

        def read():
            with tf.io.gfile.GFile(f"{self._place}/{_OWNER}", "r") as file:
                return file.read()

        if self._attempt(read) != self._owner:
            raise Taken(f"{self._place} is being written by another process, which began later; this one leaves")

    def _files(self):
        """Returns names and paths of the local files."""
        paths = (pathlib.Path(top) / name for top, _, names in os.walk(self._local) for name in names)
        return sorted((path.relative_to(self._local).as_posix(), path) for path in paths)

    def _upload(self, name):
        path = f"{self._place}/{name}"
        self._make_directory(path)
        tf.io.gfile.copy(str(self._local / name), path, overwrite=True)

    def _make_directory(self, path):
        if "://" not in path:  # a bucket has none
            tf.io.gfile.makedirs(os.path.dirname(path))

    def _attempt(self, function, *args):
        try:
            return function(*args)
        except tf.errors.NotFoundError:
            raise
        except tf.errors.OpError as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error):
        return Unreachable(errno.EIO, _reason(error), self._place)


def _rank(name):
    """Returns what is least for what must be there first."""
    if name.endswith("/manifest.json"):
        return 1, name
    return (2 if name == ".newest" else 0), name


def _signature(path):
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _reason(error):
    return " ".join(error.message.split())[:300] or type(error).__name__
