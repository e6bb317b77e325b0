"""What this process writes to stdout and stderr. A failed write never ends a run; log lines go above a progress bar."""

import contextlib
import faulthandler
import io
import logging
import os
import select
import sys
from collections.abc import Mapping

import tqdm

from dqn_tf.config import schema


class _Formatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name; without the traceback
        return schema.one_line(super().formatMessage(record))


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tqdm.tqdm.write(self.format(record), file=sys.stderr)
        sys.stderr.flush()


class _Output(io.RawIOBase):
    """Writes to a descriptor and raises nothing if the pipe is closed, the disk full or the terminal gone.

    Attributes:
      error: the last error, None if there was none.
    """

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, output: bytes | memoryview) -> int:
        self.error = write(self._descriptor, bytes(output)) or self.error
        return len(output)


class _Stream(io.TextIOWrapper):
    """A line-buffered text stream on an _Output."""

    def __init__(self, descriptor, encoding):
        self.output = _Output(descriptor)
        super().__init__(
            io.BufferedWriter(self.output), encoding=encoding, errors="backslashreplace", line_buffering=True
        )


def write(descriptor: int, output: bytes) -> OSError | None:
    """Writes all of `output`, also to a slow reader; returns the error if that fails, else None."""
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
    """Makes stdout and stderr usable for the whole run. Call it first.

    Opens descriptors 0 to 2 if they are closed: else the next file opened gets the number, and libraries write into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest free number
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is not None:
            stream.flush()
        setattr(sys, name, _Stream(descriptor, getattr(stream, "encoding", None) or "utf-8"))
    faulthandler.enable(2)  # a crash in native code prints a traceback


def set_up() -> None:
    """Calls `keep_streams`, and sends the log of dqn_tf, from INFO on, to stderr. Other loggers stay as they are."""
    keep_streams()
    handler = _Handler()
    handler.setFormatter(_Formatter())
    log = logging.getLogger("dqn_tf")
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


def print_result(text: str) -> int:
    """Prints the result of a command and returns its exit code: 1, with a line on stderr, if it cannot be written."""
    print(text, flush=True)
    error = sys.stdout.output.error if isinstance(sys.stdout, _Stream) else None
    if error is None or isinstance(error, BrokenPipeError):  # whoever closes the pipe wants no more
        return 0
    print(f"the result cannot be written to stdout: {error.strerror}", file=sys.stderr)
    return 1


def tell_platform(mistake: str, environ: Mapping[str, str]) -> None:
    """Writes the user's mistake to the file from which SageMaker takes a job's FailureReason, if this is such a job."""
    directory = environ.get("SM_OUTPUT_DIR", "")
    if directory:
        with contextlib.suppress(OSError), open(os.path.join(directory, "failure"), "w", encoding="utf-8") as file:
            file.write(mistake)
