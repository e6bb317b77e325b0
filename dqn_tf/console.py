"""Lines on stderr for people: one line for each decision, undisturbed by a progress bar."""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Mapping

import tqdm

_GPU_NOTES = (
    "All log messages before absl::InitializeLog()",
    "Could not find cuda drivers on your machine",
    "failed call to cuInit",
    "Unable to register cu",
    "oneDNN custom operations are on",
    "optimized to use available CPU instructions",
    "rebuild TensorFlow with the appropriate compiler flags",
)


class _Handler(logging.Handler):
    def emit(self, record):
        tqdm.tqdm.write(self.format(record), file=sys.stderr)
        sys.stderr.flush()


def set_up() -> None:
    """Sends the program's own log, from INFO on, to stderr. Libraries keep their loggers and levels."""
    log = logging.getLogger("dqn_tf")
    log.handlers = [_Handler()]
    log.setLevel(logging.INFO)
    log.propagate = False


def tell_platform(mistake: str, environ: Mapping[str, str]) -> None:
    """Leaves the user's mistake where SageMaker takes a job's FailureReason from, if this is such a job."""
    directory = environ.get("SM_OUTPUT_DIR", "")
    if directory:
        with contextlib.suppress(OSError), open(os.path.join(directory, "failure"), "w", encoding="utf-8") as file:
            file.write(mistake)


@contextlib.contextmanager
def without_gpu_notes():
    """Holds back what native code writes to stderr in this context, and writes it at the end without the notes.

    TensorFlow tells every user without a GPU, in up to six lines, that there is none; before its log is set up no
    setting of its own silences that (TF_CPP_MIN_LOG_LEVEL does later).
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            lines = held.read().decode(errors="replace").splitlines(keepends=True)
            sys.stderr.write("".join(line for line in lines if not any(note in line for note in _GPU_NOTES)))
            sys.stderr.flush()
