"""Copies of a local directory's files in a bucket, or in another directory, by tf.io.gfile.

An object store has neither rename nor append nor lock. So a run writes to a disk, and whole files are copied.
"""

import contextlib
import errno
import os
import pathlib
import re
import uuid
from collections.abc import Callable, Iterable

import tensorflow as tf

from dqn_tf.persistence import locations
from dqn_tf.process import reasons

_OWNER = ".owner"
# The user must mend these; starting again would not help.
_MISTAKES = (
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.UnauthenticatedError,
    tf.errors.InvalidArgumentError,
    tf.errors.UnimplementedError,
)


class Unreachable(OSError):
    """The other place does not answer, or refuses; later it may answer.

    Attributes:
      is_mistake: it answers that there is no such place or access; at the start the user must mend that.
    """

    is_mistake = False


class Taken(Exception):
    """Another process writes to the other place, so this one must not."""


class Mirror:
    """Copies files to a place and back. A file that both sides have is not copied again.

    Attributes:
      place: the other side, called "there" below; "here" is the local directory.
    """

    def __init__(self, local: pathlib.Path, place: str, is_wanted: Callable[[str], bool] = lambda name: True):
        """Reads and writes nothing.

        Args:
          place: gs://BUCKET/path or a directory.
          is_wanted: tells by a file's name, relative to `local`, whether `push` copies and removes it.
        """
        self._local = local
        self.place = place.rstrip("/")
        self._is_wanted = is_wanted
        self._known: dict[str, tuple[int, int]] = {}  # signature of the local file, by name, when both sides were equal
        self._dropped: set[str] = set()
        self._owner = ""

    def check(self) -> None:
        """Raises Unreachable if there is no such bucket, or it does not answer."""
        if not locations.is_bucket(self.place):
            return
        try:
            self._attempt(tf.io.gfile.stat, "/".join(self.place.split("/")[:3]) + "/")
        except tf.errors.NotFoundError:
            raise _unreachable(self.place, "there is no such bucket", is_mistake=True) from None

    def names(self, pattern: str) -> list[str]:
        """Returns the names of the files there that match a pattern; * matches all but slashes."""
        place = re.sub(r"([*?[\\])", r"\\\1", self.place)
        found = self._attempt(tf.io.gfile.glob, f"{place}/{pattern}")
        return sorted(path.removeprefix(f"{self.place}/") for path in found if not path.endswith("/"))

    def size(self, name: str) -> int:
        """Returns the bytes of a file there, -1 if there is none. Raises Unreachable."""
        with contextlib.suppress(tf.errors.NotFoundError):
            return self._attempt(tf.io.gfile.stat, f"{self.place}/{name}").length
        return -1

    def holds(self, name: str) -> bool:
        """Returns whether this process has copied a file to or from there."""
        return name in self._known

    def pull(self, names: Iterable[str]) -> None:
        """Copies files from there, and removes here those that are missing there. Raises Unreachable."""
        for name in names:
            path = self._local / name
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}.new")
            try:
                self._attempt(_copy, f"{self.place}/{name}", str(partial))
                partial.replace(path)
            except tf.errors.NotFoundError:
                path.unlink(missing_ok=True)
                continue
            finally:
                partial.unlink(missing_ok=True)
            self._known[name] = _signature(path)

    def tree(self, directory: str) -> list[str]:
        """Returns the names of all files there below a directory. Raises Unreachable."""
        top = f"{self.place}/{directory}"
        walked = self._attempt(lambda: list(tf.io.gfile.walk(top)))  # in a bucket directories end in a slash
        found = (f"{path.rstrip('/')}/{name}" for path, _, names in walked for name in names)
        return sorted(path.removeprefix(f"{self.place}/") for path in found)

    def recognize(self) -> None:
        """Finds files that are equal on both sides, which need not be copied. Raises Unreachable."""
        for name, path in self._files():
            if self._is_wanted(name) and self.size(name) == path.stat().st_size:
                with contextlib.suppress(tf.errors.NotFoundError):
                    if self._attempt(_read, f"{self.place}/{name}") == path.read_bytes():
                        self._known[name] = _signature(path)

    def write(self, name: str, text: str) -> None:
        """Writes a file there. Raises Unreachable."""
        self._attempt(_write, f"{self.place}/{name}", text)

    def drop(self, names: Iterable[str]) -> None:
        """Notes files that the program has removed here. The next `push` removes these there, and no others."""
        self._dropped.update(names)

    def push(self) -> bool:
        """Copies changed files there, manifests last, and removes dropped files there, manifests first.

        Returns whether there were any.

        Raises:
          Unreachable: the place cannot be written; `push` may be called again.
          Taken: another process has claimed the place.
        """
        here = {name: _signature(path) for name, path in self._files() if self._is_wanted(name)}
        changed = [name for name, signature in here.items() if self._known.get(name) != signature]
        gone = [name for name in self._dropped if name in self._known and name not in here and self._is_wanted(name)]
        if (changed or gone) and not self._is_owner():
            changed = list(here)  # somebody has removed the files there
        for name in sorted(changed, key=_rank):
            self._upload(name)
            self._known[name] = here[name]
        for name in sorted(gone, key=_rank, reverse=True):
            with contextlib.suppress(tf.errors.NotFoundError):
                self._attempt(tf.io.gfile.remove, f"{self.place}/{name}")
            del self._known[name]
        self._dropped.clear()
        return bool(changed or gone)

    def claim(self) -> None:
        """Claims the place: the `push` of any other process raises Taken from now on. Raises Unreachable."""
        self._owner = self._owner or uuid.uuid4().hex
        self._put(_write, f"{self.place}/{_OWNER}", self._owner)

    def _is_owner(self):
        """Returns whether this process has claimed the place; if none has, claims it. Raises Taken: another has."""
        if not self._owner:
            return True
        try:
            if self._attempt(_read, f"{self.place}/{_OWNER}").decode(errors="replace") != self._owner:
                raise Taken(f"{self.place} is being written by another process, which began later; this one leaves")
        except tf.errors.NotFoundError:
            self.claim()
            return False
        return True

    def _files(self):
        """Returns names and paths of the local files."""
        paths = (pathlib.Path(top) / name for top, _, names in os.walk(self._local) for name in names)
        return sorted((path.relative_to(self._local).as_posix(), path) for path in paths)

    def _upload(self, name):
        source, path = self._local / name, f"{self.place}/{name}"
        if not locations.is_bucket(path) and os.path.exists(path) and os.path.samefile(source, path):
            return  # it would be emptied
        self._put(_make_directory, path)
        self._put(_copy, str(source), path)

    def _put(self, function, *args):
        """Calls a function that writes; what it does not find is a place, so the user has made a mistake."""
        try:
            self._attempt(function, *args)
        except tf.errors.NotFoundError as error:
            raise _unreachable(self.place, reasons.reason(error), is_mistake=True) from None

    def _attempt(self, function, *args):
        try:
            return function(*args)
        except tf.errors.NotFoundError:
            raise
        except tf.errors.OpError as error:
            raise _unreachable(self.place, reasons.reason(error), isinstance(error, _MISTAKES)) from None


def _copy(source, target):
    tf.io.gfile.copy(source, target, overwrite=True)


def _read(path):
    with tf.io.gfile.GFile(path, "rb") as file:
        return file.read()


def _write(path, text):
    _make_directory(path)
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(text)


def _make_directory(path):
    if not locations.is_bucket(path):  # a bucket has none
        tf.io.gfile.makedirs(os.path.dirname(path))


def _unreachable(place, reason, is_mistake=False):
    error = Unreachable(errno.EIO, reason, place)
    error.is_mistake = is_mistake
    return error


def _rank(name):
    """Returns the order of copying: manifests come after the files that they name, a summary after all."""
    if name.endswith(("/manifest.json", "/best.npz")):
        return 1, name
    return {".newest": 2, "summary.json": 3}.get(name, 0), name


def _signature(path):
    status = path.stat()
    return status.st_size, status.st_mtime_ns
