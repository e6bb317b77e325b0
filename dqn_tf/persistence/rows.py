"""Reads the rows of metrics.jsonl. Without TensorFlow.

Anybody may have changed the file: lines that are no rows are logged and skipped, and never end a run.
"""

import itertools
import logging
import os
import pathlib
import stat
from collections.abc import Iterator
from typing import Any

from dqn_tf.config import files

_log = logging.getLogger(__name__)

ROWS = "metrics.jsonl"
_MOST_BYTES = 1 << 20  # of a row
_MOST = 1e300  # of a value: the curve needs sums and squares


def read(path: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the rows of a metrics.jsonl, [] if there is no file; bad lines are skipped with a warning.

    An incomplete last line is skipped without a warning: a process that is killed leaves one.
    """
    try:
        with files.open_regular(path) as file:
            lines = [(_row(line), number, line.endswith(b"\n")) for number, line in enumerate(_lines(file), start=1)]
    except FileNotFoundError:
        return []
    except OSError as error:
        _log.warning("%s cannot be read: %s; going on without its rows", path, error.strerror)
        return []
    bad = [number for row, number, is_whole in lines if row is None and is_whole]
    if bad:
        what = f"line {bad[0]}" if len(bad) == 1 else f"{len(bad)} lines, the first of them line {bad[0]},"
        _log.warning("%s: %s cannot be read and will be skipped", path, what)
    return [row for row, _, _ in lines if row is not None]


def ends_line(path: pathlib.Path) -> bool:
    """Returns whether a metrics.jsonl is empty or ends with a complete line. Raises OSError."""
    if not path.exists() or not path.stat().st_size:
        return True
    with files.open_regular(path) as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _lines(file) -> Iterator[bytes]:
    """Yields the lines of a file; of a line that is too long only its last byte, which is no row."""
    while line := file.readline(_MOST_BYTES):
        if len(line) == _MOST_BYTES:
            while line and not line.endswith(b"\n"):
                line = file.readline(_MOST_BYTES)
            line = line[-1:]
        yield line


def _row(line):
    """Returns the row in a line, None if the line is no row."""
    try:
        row = files.parse(line.decode())
    except ValueError:
        return None
    if not isinstance(row, dict) or type(row.get("env_steps")) is not int or row["env_steps"] < 0:
        return None
    return row if all(value is None or _is_number(value) for value in row.values()) else None


def _is_number(value):
    return type(value) in (int, float) and -_MOST < value < _MOST


def set_aside(path: pathlib.Path) -> None:
    """Renames whatever at `path` is neither a file nor a link, with a warning. Raises OSError."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
        return
    names = itertools.chain(["damaged"], (f"damaged-{number}" for number in itertools.count(2)))
    aside = next(other for name in names if not (other := path.with_name(f"{path.name}.{name}")).exists())
    path.rename(aside)
    _log.warning("%s is not a file: it is %s from now on, and the rows so far are missing", path, aside)
