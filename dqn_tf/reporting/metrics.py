"""What a run tells while it goes: TensorBoard, metrics.jsonl and progress. Only the chief has one."""

import errno
import io
import json
import logging
import math
import os
import pathlib
import socket
import sys
import time
from collections.abc import Mapping

import tqdm
from tensorboard.compat.proto import event_pb2
from tensorboard.plugins.scalar import summary_v2 as scalar_summary
from tensorboard.plugins.text import summary_v2 as text_summary
from tensorboard.summary.writer import record_writer

from dqn_tf.config import files
from dqn_tf.persistence import own_files, rows

_log = logging.getLogger(__name__)

_LINE_PERIOD_SECONDS = 10.0


class MetricsWriter:
    """Writes rows of scalars to metrics.jsonl and TensorBoard; the step is env steps of all workers.

    Rows wait in memory until `flush`. Where the disk does not take them, both files stay whole and the rows wait on.

    Attributes:
      dropped: files of a run that was lost, which have been removed.
    """

    def __init__(self, logdir: pathlib.Path, journal: Mapping[str, int]):
        """Opens the files to continue after `journal`: what was written later, by a run that was lost, is dropped."""
        self._logdir = logdir
        self._is_full = False
        self.dropped = []
        path_of_rows = logdir / rows.ROWS
        rows.set_aside(path_of_rows)
        self._own = set(journal) | own_files.listed(logdir)
        for path in self._grown():
            if path.name not in journal:
                path.unlink()
                self.dropped.append(path)
            elif path.stat().st_size > journal[path.name]:
                with open(own_files.open_own(path), "ab") as file:
                    file.truncate(journal[path.name])
        for name, size in journal.items():
            if not (logdir / name).exists() or (logdir / name).stat().st_size < size:
                _log.warning("resume: rows of metrics are missing, because %s was cut", logdir / name)
        rows.read(path_of_rows)  # which names what is none, now and not only at the end
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.v2"
        self._own |= {rows.ROWS, name}
        own_files.to_list(logdir, self._own)
        self._rows = _Appender(path_of_rows)
        self._events = _Appender(logdir / name, _record(file_version="brain.Event:2"))
        if not rows.ends_line(path_of_rows):
            self._rows.add(b"\n")

    def _grown(self):
        """Returns the run's own files of rows; others of such names are somebody's."""
        names = (name for name in sorted(self._own) if name == rows.ROWS or name.startswith("events.out.tfevents."))
        paths = [self._logdir / name for name in names]
        return [path for path in paths if files.is_regular(path) and not path.is_symlink()]

    def scalars(self, env_steps: int, values: Mapping[str, float]) -> None:
        """Adds one row."""
        finite = {tag: value if math.isfinite(value) else None for tag, value in values.items()}  # JSON has no NaN
        self._rows.add((json.dumps({"env_steps": env_steps, **finite}) + "\n").encode())
        for tag, value in values.items():
            self._events.add(_record(step=env_steps, summary=scalar_summary.scalar_pb(tag, value)))

    def text(self, tag: str, text: str) -> None:
        """Adds text, markdown, to TensorBoard."""
        self._events.add(_record(step=0, summary=text_summary.text_pb(tag, text)))

    def flush(self) -> None:
        """Writes the rows; a disk that does not take them is a warning, once, and they are tried again."""
        try:
            self._write()
        except OSError as error:
            if not self._is_full:
                _log.warning("metrics wait in memory: %s: %s", error.filename or self._logdir, error.strerror)
            self._is_full = True

    def _write(self):
        for appender in (self._rows, self._events):
            appender.flush()
        self._is_full = False

    def journal(self) -> dict[str, int]:
        """Returns the sizes of all files of rows, by name, once all rows are on the disk. Raises OSError."""
        self._write()
        for appender in (self._rows, self._events):
            appender.sync()
        return {path.name: path.stat().st_size for path in self._grown()}

    def close(self) -> None:
        """Writes what is left."""
        self.flush()


class _Appender:
    """Adds to a file, whole records or nothing."""

    def __init__(self, path, header=b""):
        self._path, self._header = path, header
        self._waiting = bytearray()

    def add(self, record):
        self._waiting += record

    def flush(self):
        with open(own_files.open_own(self._path), "ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            content = (b"" if size else self._header) + bytes(self._waiting)
            try:
                if file.write(content) < len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            except OSError:
                file.truncate(size)
                raise
        self._waiting.clear()

    def sync(self):
        with open(own_files.open_own(self._path), "ab") as file:
            os.fsync(file.fileno())


def _record(**fields):
    """Returns an event of TensorBoard's as a record of its files."""
    buffer = io.BytesIO()
    event = event_pb2.Event(wall_time=time.time(), **fields)
    record_writer.RecordWriter(buffer).write(event.SerializeToString())
    return buffer.getvalue()


def log_row(env_steps: int, values: Mapping[str, float]) -> None:
    """Logs a row for programs that read the log, such as SageMaker's.

    metrics: env_steps=5000 eval/return_mean=480 eval/return_max=500
    """
    _log.info("metrics: env_steps=%d %s", env_steps, " ".join(f"{tag}={value:.6g}" for tag, value in values.items()))


class ProgressDisplay:
    """A bar on a terminal, a line every ten seconds elsewhere. The launcher decides for its workers."""

    def __init__(self, total_env_steps: int, env_steps: int):
        has_bar = sys.stderr.isatty() or "ipykernel" in sys.modules  # a notebook
        is_bar = os.environ.get("DQN_TF_PROGRESS", "bar" if has_bar else "lines") == "bar"
        self._total = total_env_steps
        self._bar = None
        if is_bar:
            self._bar = tqdm.tqdm(total=total_env_steps, initial=env_steps, unit="step", unit_scale=True, smoothing=0.1)
        self._last_line = self._last_row = time.perf_counter()

    def tell(self, env_steps: int, values: Mapping[str, float], is_due: bool = False) -> None:
        """Logs a row every ten seconds, or when it `is_due`; not if there is a bar, which it would break."""
        if values and self._bar is None and (is_due or time.perf_counter() - self._last_row > _LINE_PERIOD_SECONDS):
            if not is_due:
                self._last_row = time.perf_counter()
            log_row(env_steps, values)

    def update(self, env_steps: int, notes: Mapping[str, str]) -> None:
        """Shows how far the run is, with `notes` such as the recent return."""
        if self._bar is not None:
            self._bar.set_postfix(notes, refresh=False)
            self._bar.update(min(env_steps, self._total) - self._bar.n)
        elif time.perf_counter() - self._last_line > _LINE_PERIOD_SECONDS:
            self._last_line = time.perf_counter()
            text = ", ".join(f"{name} {value}" for name, value in notes.items())
            _log.info("%d of %d env steps, %s", env_steps, self._total, text)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
