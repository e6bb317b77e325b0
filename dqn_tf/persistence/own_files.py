"""Writes files of a run. It never follows a link in the run's directory. Without TensorFlow."""

import errno
import json
import os
import pathlib
import stat
from typing import BinaryIO

from dqn_tf.config import files

_LIST = ".files"  # the names of files that the run has made


def create(path: pathlib.Path) -> BinaryIO:
    """Removes an old file or link and returns a new binary file in its place. Raises OSError."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666), "wb")


def open_own(path: pathlib.Path, flags: int = os.O_WRONLY | os.O_APPEND) -> int:
    """Opens a regular file, made if missing, and returns its descriptor. Raises OSError: it is a link or a device."""
    # O_NONBLOCK: do not wait for the reader of a FIFO.
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return descriptor


def make_directory(path: pathlib.Path) -> None:
    """Makes a directory if it is missing. Raises OSError: a link or a file is in its place."""
    path.mkdir(parents=True, exist_ok=True)  # somebody may have removed the run
    if path.is_symlink():
        raise OSError(errno.ENOTDIR, "it is a link, which is not followed for writing", str(path))


def listed(directory: pathlib.Path) -> set[str]:
    """Returns the names of the files that the run in a directory has made, from the run's own list."""
    try:
        names = files.read_object(directory / _LIST).get("files")
    except OSError:
        return set()
    names = names if isinstance(names, list) else []
    return {name for name in names if isinstance(name, str) and name == os.path.basename(name) not in ("", ".", "..")}


def to_list(directory: pathlib.Path, names: set[str]) -> None:
    """Writes that list; to be called before the files are made. Raises OSError."""
    with create(directory / f"{_LIST}.new") as file:
        file.write(json.dumps({"files": sorted(names)}).encode())
    os.replace(directory / f"{_LIST}.new", directory / _LIST)


def links(directory: pathlib.Path) -> list[pathlib.Path]:
    """Returns links in places where a run writes. A link to a whole checkpoint is allowed: it is only read."""
    places = [directory / name for name in ("checkpoints", "metrics.jsonl", "model")]
    places += (directory / "model").rglob("*")
    places += (directory / name for name in listed(directory) if name.startswith("events.out."))
    places += (path for path in (directory / "checkpoints").glob("ckpt-*") if not (path / "manifest.json").exists())
    return [path for path in places if path.is_symlink()]
