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
    """The other place does not answer or does not let us; later it may.

    Attributes:
      is_mistake: it answers, and there is no such place or it is not ours: at the start that is the user's to mend.
    """

    is_mistake = False


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
        self._dropped: set[str] = set()
        self._owner = ""

    def check(self) -> None:
        """Raises Unreachable where there is no such bucket, or it does not answer."""
        if "://" not in self._place:
            return
        try:
            self._attempt(tf.io.gfile.stat, "/".join(self._place.split("/")[:3]) + "/")
        except tf.errors.NotFoundError:
            raise _unreachable(self._place, "there is no such bucket", is_mistake=True) from None

    def names(self, pattern: str) -> list[str]:
        """Returns the names of the files there that match a pattern, in which * stands for no slash."""
        found = self._attempt(tf.io.gfile.glob, f"{self._place}/{pattern}")
        return sorted(path.removeprefix(f"{self._place}/") for path in found if not path.endswith("/"))

    def size(self, name: str) -> int:
        """Returns the bytes of a file there, -1 where there is none. Raises Unreachable."""
        with contextlib.suppress(tf.errors.NotFoundError):
            return self._attempt(tf.io.gfile.stat, f"{self._place}/{name}").length
        return -1

    def holds(self, name: str) -> bool:
        """Returns whether a file there is one that this process has copied there or from there."""
        return name in self._known

    def pull(self, names: Iterable[str]) -> None:
        """Copies files from there; those that are not there are not here either, afterwards. Raises Unreachable."""
        for name in names:
            path = self._local / name
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}.new")
            try:
                self._attempt(_copy, f"{self._place}/{name}", str(partial))
                partial.replace(path)
            except tf.errors.NotFoundError:
                path.unlink(missing_ok=True)
                continue
            finally:
                partial.unlink(missing_ok=True)
            self._known[name] = _signature(path)

    def drop(self, names: Iterable[str]) -> None:
        """Notes files that the program has removed here, for the next `push`; others may have removed others."""
        self._dropped.update(names)

    def push(self) -> None:
        """Makes what is there as it is here: manifests after what they name, and before it where they go.

        Raises:
          Unreachable: it cannot be written; `push` may be tried again.
          Taken: another process has claimed the place.
        """
        here = {name: _signature(path) for name, path in self._files() if self._is_wanted(name)}
        changed = [name for name, signature in here.items() if self._known.get(name) != signature]
        gone = [name for name in self._dropped if name in self._known and name not in here and self._is_wanted(name)]
        if (changed or gone) and not self._is_owner():
            changed = list(here)  # somebody has removed what was there
        for name in sorted(changed, key=_rank):
            self._attempt(self._upload, name)
            self._known[name] = here[name]
        for name in sorted(gone, key=_rank, reverse=True):
            with contextlib.suppress(tf.errors.NotFoundError):
                self._attempt(tf.io.gfile.remove, f"{self._place}/{name}")
            del self._known[name]
        self._dropped.clear()

    def claim(self) -> None:
        """Makes this process the one that writes there; another finds out at its next `push`. Raises Unreachable."""
        self._owner = self._owner or uuid.uuid4().hex
        path = f"{self._place}/{_OWNER}"

        def write():
            _make_directory(path)
            with tf.io.gfile.GFile(path, "w") as file:
                file.write(self._owner)

        try:
            self._attempt(write)
        except tf.errors.NotFoundError as error:
            raise _unreachable(self._place, _reason(error), is_mistake=True) from None

    def _is_owner(self):
        """Returns False where nobody is, and claims the place again. Raises Taken where another process is."""
        if not self._owner:
            return True

        def read():
            with tf.io.gfile.GFile(f"{self._place}/{_OWNER}", "r") as file:
                return file.read()

        try:
            if self._attempt(read) != self._owner:
                raise Taken(f"{self._place} is being written by another process, which began later; this one leaves")
        except tf.errors.NotFoundError:
            self.claim()
            return False
        return True

    def _files(self):
        """Returns names and paths of the local files."""
        paths = (pathlib.Path(top) / name for top, _, names in os.walk(self._local) for name in names)
        return sorted((path.relative_to(self._local).as_posix(), path) for path in paths)

    def _upload(self, name):
        source, path = self._local / name, f"{self._place}/{name}"
        if "://" not in path and os.path.exists(path) and os.path.samefile(source, path):
            return  # it would be emptied
        _make_directory(path)
        try:
            _copy(str(source), path)
        except tf.errors.NotFoundError as error:
            raise _unreachable(self._place, _reason(error), is_mistake=True) from None

    def _attempt(self, function, *args):
        try:
            return function(*args)
        except tf.errors.NotFoundError:
            raise
        except tf.errors.OpError as error:
            raise _unreachable(self._place, _reason(error), isinstance(error, _MISTAKES)) from None


def _copy(source, target):
    tf.io.gfile.copy(source, target, overwrite=True)


def _make_directory(path):
    if "://" not in path:  # a bucket has none
        tf.io.gfile.makedirs(os.path.dirname(path))


def _unreachable(place, reason, is_mistake=False):
    error = Unreachable(errno.EIO, reason, place)
    error.is_mistake = is_mistake
    return error


def _rank(name):
    """Returns what is least for what must be there first."""
    if name.endswith("/manifest.json"):
        return 1, name
    return (2 if name == ".newest" else 0), name


def _signature(path):
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _reason(error):
    """Returns the first line of an error that says something; TensorFlow adds headers and the way it came."""
    return error.message.strip().splitlines()[0].strip()[:200] if error.message.strip() else type(error).__name__
