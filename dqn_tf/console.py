"""Lines on stderr for people: one line for each decision, undisturbed by a progress bar."""

import logging
import sys

import tqdm


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
