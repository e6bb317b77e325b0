"""Paths that users give, and files that anybody may have written, read.

What cannot be read says why in a few words, and nothing is waited for.
"""

import errno
import json
import os
import pathlib
import stat
from typing import Any, BinaryIO

_MOST_BYTES = 16 << 20
_MOST_LEVELS = 50  # of nesting: what is made of a tree, such as its text, must not run out of stack either


def from_user(text: str) -> str:
    """Returns a path as somebody has typed it, with the home directory for ~. Raises ValueError: what it must be."""
    path = os.path.expanduser(text)
    if path.startswith("~"):
        user = path.partition("/")[0]
        raise ValueError(f"below a home directory that there is, or ./{user} where that is a name")
    try:
        path.encode()  # as TensorFlow does
    except UnicodeEncodeError:
        raise ValueError("UTF-8, as all names of files here") from None
    return path


def make_writable(path: str | os.PathLike) -> None:
    """Makes a directory if there is none. Raises OSError, also if files cannot be made in it."""
    os.makedirs(path, exist_ok=True)
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def open_regular(path: str | os.PathLike) -> BinaryIO:
    """Returns a file opened for reading. A FIFO, a device or a directory is refused at once. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a path that no file can have
        raise _unreadable(path, str(error)) from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise _unreadable(path, "it is not a regular file")


def is_regular(path: pathlib.Path) -> bool:
    """Returns whether there is a regular file, or a link to one."""
    try:
        return path.is_file()
    except OSError:
        return False


def read(path: str | os.PathLike, most_bytes: int = _MOST_BYTES) -> bytes:
    """Returns what is in a file. Raises OSError, also if that is more than `most_bytes`."""
    with open_regular(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise _unreadable(path, f"it has more than {most_bytes >> 20} MiB")
    return content


def read_text(path: str | os.PathLike) -> str:
    """Returns a file's text, without the mark that some editors put before it. Raises OSError."""
    try:
        return read(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _unreadable(path, "it is not UTF-8 text") from None


def read_object(path: str | os.PathLike) -> dict[str, Any]:
    """Returns the JSON object in a file. Raises OSError, whose strerror says what is wrong with it."""
    text = read_text(path)
    try:
        tree = parse(text)
    except ValueError as error:
        raise _unreadable(path, str(error)) from None
    if not isinstance(tree, dict):
        raise _unreadable(path, "it is JSON, but not an object")
    return tree


def parse(text: str | bytes) -> Any:
    """Returns the value of a JSON text. Raises ValueError in a few words, also if it is nested too deeply."""
    try:
        tree = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:
        raise ValueError("it is not JSON") from None
    level = [tree]
    for _ in range(_MOST_LEVELS):
        level = [branch for node in level for branch in _branches(node)]
    if level:
        raise ValueError("it is nested too deeply")
    return tree


def _branches(node):
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list) else ()


def _unreadable(path, reason):
    return OSError(errno.EINVAL, reason, str(path))
