"""Lines on stderr for people: one line for each decision, undisturbed by a progress bar, and never a run's end."""

import contextlib
import faulthandler
import io
import logging
import os
import select
import subprocess
import sys
from collections.abc import Mapping

import tqdm

from dqn_tf.config import schema

_GPU_NOTES = (
    "All log messages before absl::InitializeLog()",
    "Could not find cuda drivers on your machine",
    "failed call to cuInit",
    "Unable to register cu",
    "oneDNN custom operations are on",
    "optimized to use available CPU instructions",
    "rebuild TensorFlow with the appropriate compiler flags",
)
# Passes on the lines that have none of the arguments, each at once.
_FILTER = """
import os, sys
notes = [note.encode() for note in sys.argv[1:]]
for line in iter(sys.stdin.buffer.readline, b""):
    if not any(note in line for note in notes):
        try:
            os.write(2, line)
        except OSError:
            pass
"""
_FILTER_SECONDS = 2.0  # for the last lines


class _Formatter(logging.Formatter):
    def formatMessage(self, record):  # noqa: N802 - logging's name; a traceback comes after it, on lines of its own
        return schema.one_line(super().formatMessage(record))


class _Handler(logging.Handler):
    def emit(self, record):
        tqdm.tqdm.write(self.format(record), file=sys.stderr)
        sys.stderr.flush()


class _Output(io.RawIOBase):
    """Writes what can be written; a closed pipe, a full disk, a terminal that is gone raise nothing.

    Attributes:
      error: the last one, None where all was written.
    """

    def __init__(self, descriptor):
        self._descriptor = descriptor
        self.error: OSError | None = None

    def writable(self):
        return True

    def fileno(self):
        return self._descriptor

    def isatty(self):
        return os.isatty(self._descriptor)

    def write(self, output):
        self.error = write(self._descriptor, bytes(output)) or self.error
        return len(output)


class _Stream(io.TextIOWrapper):
    """A text stream on such a descriptor, by lines."""

    def __init__(self, descriptor, encoding):
        self.output = _Output(descriptor)
        super().__init__(
            io.BufferedWriter(self.output), encoding=encoding, errors="backslashreplace", line_buffering=True
        )


def write(descriptor: int, output: bytes) -> OSError | None:
    """Writes all of `output`, however slow its reader is; returns why that cannot be, None where it is done."""
    try:
        while output:
            try:
                output = output[os.write(descriptor, output) :]
            except BlockingIOError:
                select.select([], [descriptor], [])
    except OSError as error:
        return error
    return None


def keep_streams() -> None:
    """Has stdout and stderr there for the whole run, whatever becomes of them. Call first of all.

    A descriptor that was closed would be that of the next file opened: libraries would write their notes into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number that is free
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is not None:
            stream.flush()
        setattr(sys, name, _Stream(descriptor, getattr(stream, "encoding", None) or "utf-8"))
    faulthandler.enable(2)  # a crash in native code says where


def set_up() -> None:
    """Keeps the streams, and sends the program's own log, from INFO on, to stderr. Libraries keep their loggers."""
    keep_streams()
    handler = _Handler()
    handler.setFormatter(_Formatter())
    log = logging.getLogger("dqn_tf")
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


def print_result(text: str) -> int:
    """Prints what a command is for, and returns its exit code: 1, with a line, where that cannot be written."""
    print(text, flush=True)
    error = sys.stdout.output.error if isinstance(sys.stdout, _Stream) else None
    if error is None or isinstance(error, BrokenPipeError):  # a reader that has gone wants no more
        return 0
    print(f"the result cannot be written to stdout: {error.strerror}", file=sys.stderr)
    return 1


def tell_platform(mistake: str, environ: Mapping[str, str]) -> None:
    """Leaves the user's mistake where SageMaker takes a job's FailureReason from, if this is such a job."""
    directory = environ.get("SM_OUTPUT_DIR", "")
    if directory:
        with contextlib.suppress(OSError), open(os.path.join(directory, "failure"), "w", encoding="utf-8") as file:
            file.write(mistake)


def import_tensorflow() -> None:
    """Imports TensorFlow and has it look for GPUs, without what it then says to every user who has none."""
    with _without_gpu_notes():
        import tensorflow as tf

        tf.config.list_physical_devices("GPU")


@contextlib.contextmanager
def _without_gpu_notes():
    """Returns a context in which what native code writes to stderr goes through a process that leaves out the notes.

    They come, in up to six lines, before TensorFlow's log is set up, so no setting silences them. A process of its own
    passes on at once whatever else is written, and lives to do so where this one crashes.
    """
    sys.stderr.flush()
    try:
        told = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _FILTER, *_GPU_NOTES],
            stdin=subprocess.PIPE,
            start_new_session=True,  # a terminal's Ctrl-C does not reach it
        )
    except OSError:  # no more processes: then with the notes
        yield
        return
    stderr = os.dup(2)
    os.dup2(told.stdin.fileno(), 2)
    told.stdin.close()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
        with contextlib.suppress(subprocess.TimeoutExpired):  # somebody has kept the descriptor
            told.wait(_FILTER_SECONDS)
