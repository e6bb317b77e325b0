"""Ends a process whose rounds do not end: a peer that is stuck in Python is silent for ever, and so is one's own."""

import logging
import os
import threading
import time

_log = logging.getLogger(__name__)

EXIT_AGAIN = 143


class Watchdog:
    """Leaves with exit code 143 when nothing has been heard for `timeout` seconds; says so at half of it."""

    def __init__(self, timeout: float):
        """Prepares; `start` begins to watch.

        Args:
          timeout: seconds; 0: never.
        """
        self._timeout = timeout
        self._heard = time.monotonic()
        self._doing = "starting"
        self._stopped = threading.Event()

    def start(self) -> "Watchdog":
        """Begins to watch, and returns itself."""
        self.heard("starting")
        if self._timeout:
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def heard(self, doing: str) -> None:
        """Notes that the run goes on, and what it does next."""
        self._doing, self._heard = doing, time.monotonic()

    def stop(self) -> None:
        """Watches no longer."""
        self._stopped.set()

    def _watch(self):
        warned_for = None
        while not self._stopped.wait(min(self._timeout / 20, 1.0)):
            heard, doing = self._heard, self._doing
            silence = time.monotonic() - heard
            if silence > self._timeout:
                _log.error(
                    "no round has ended for %.0f s (--round_timeout), while %s: leaving with exit code %d",
                    silence,
                    doing,
                    EXIT_AGAIN,
                )
                os._exit(EXIT_AGAIN)
            if silence > self._timeout / 2 and warned_for != heard:
                warned_for = heard
                _log.warning(
                    "no round has ended for %.0f s, while %s; at %.0f s (--round_timeout) this process leaves",
                    silence,
                    doing,
                    self._timeout,
                )
