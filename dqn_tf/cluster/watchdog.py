"""Ends a process whose rounds do not end: a peer that is stuck in Python is silent for ever, and so is one's own."""

import contextlib
import logging
import os
import pathlib
import threading
import time

from dqn_tf.cluster.clock import RunningClock
from dqn_tf.cluster.guard import WAITING, Heartbeat
from dqn_tf.process.exit_codes import EXIT_AGAIN

_log = logging.getLogger(__name__)

_SIGN_SECONDS = 1.0


class Watchdog(Heartbeat):
    """Leaves with exit code 143 when nothing has been heard for `timeout` seconds; says so at half of it.

    What takes long on the chief alone, an evaluation, gives signs of life on the shared disk, which all others see.
    """

    def __init__(self, timeout: float, sign: pathlib.Path):
        """Prepares; `start` begins to watch.

        Args:
          timeout: seconds; 0: never.
          sign: file of the chief's whose time of change is the sign.
        """
        self._timeout = timeout
        self._sign = sign
        self._changed = self._signed = 0.0
        self._period = min(timeout / 20, 1.0)
        self._now = self._heard = 0.0  # as of the last look
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
        self._doing, self._heard = doing, self._now

    def heard_by_all(self, doing: str) -> None:
        """The same, on the chief, for all workers; may be called at any rate."""
        self.heard(doing)
        now = time.monotonic()
        if now - self._signed > _SIGN_SECONDS:
            self._signed = now
            with contextlib.suppress(OSError):
                os.utime(self._sign)

    def stop(self) -> None:
        """Watches no longer."""
        self._stopped.set()

    def _watch(self):
        warned_for, clock = None, RunningClock(self._period)
        while not self._stopped.wait(self._period):
            self._now = clock.seconds()
            self._look()
            heard, doing = self._heard, self._doing
            silence = self._now - heard
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

    def _look(self):
        """Takes a new sign of the chief's for one's own, where this process waits for it."""
        with contextlib.suppress(OSError):
            changed = self._sign.stat().st_mtime
            if changed != self._changed and self._doing == WAITING:
                self.heard(self._doing)
            self._changed = changed
