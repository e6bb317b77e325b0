"""Files of a checkpoint: named arrays in NumPy's .npz format, and checksums that show whether a file was changed."""

import dataclasses
import hashlib
import os
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

from dqn_tf.config import files
from dqn_tf.config.schema import one_line
from dqn_tf.persistence import own_files

# The fastest: it makes replays of frames ten times smaller; the default takes twice as long and gains hardly more.
_COMPRESSION_LEVEL = 1
# What NumPy and zipfile raise for a file that is no archive, or is damaged.
_UNREADABLE = (
    *(OSError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, MemoryError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)


class Damaged(Exception):
    """A file of a checkpoint is missing or was changed; the message names it and says how."""


class Invalid(Damaged):
    """A file of a checkpoint has the right checksum, but this run cannot have written it."""


@dataclasses.dataclass(frozen=True)
class File:
    """A file and its content.

    Attributes:
      path: relative to the directory of all checkpoints, with slashes.
      size: bytes.
      sha256: of the content, in hexadecimal.
    """

    path: str
    size: int
    sha256: str


def write(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes compressed arrays and syncs them to the disk. Raises OSError."""
    with own_files.create(path) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_COMPRESSION_LEVEL) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a file. It refuses pickled objects, so reading runs no code. Raises Damaged, Invalid."""
    try:
        with files.open_regular(path) as file:
            try:
                with np.load(file, allow_pickle=False) as archive:
                    return dict(archive)
            except _UNREADABLE as error:
                raise Invalid(f"{path} cannot be read: {one_line(str(error))}") from None
    except OSError as error:
        raise Damaged(f"{path} cannot be read: {error.strerror}") from None


def describe(root: pathlib.Path, path: pathlib.Path) -> File:
    """Returns the File of `path`, which is below `root`. Raises OSError."""
    with files.open_regular(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return File(path.relative_to(root).as_posix(), os.fstat(file.fileno()).st_size, digest)


def check(root: pathlib.Path, expected: File) -> None:
    """Raises Damaged if a file below `root` is not as described."""
    path = root / expected.path
    try:
        size = path.stat().st_size
        if size != expected.size:
            raise Damaged(f"{path} has {size} bytes instead of {expected.size}")
        found = describe(root, path)
    except FileNotFoundError:
        raise Damaged(f"{path} is missing") from None
    except OSError as error:
        raise Damaged(f"{path} cannot be read: {error.strerror}") from None
    if found != expected:
        raise Damaged(f"{path} is not what was written: its checksum differs")


def sync_directory(path: pathlib.Path) -> None:
    """Syncs the names in a directory to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: pathlib.Path, text: str) -> None:
    """Writes a file whole or not at all, and syncs it to the disk. Raises OSError."""
    temporary = path.with_name(f"{path.name}.new")
    with own_files.create(temporary) as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_directory(path.parent)
