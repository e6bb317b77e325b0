"""Ends a process whose rounds do not end, because it or one of its peers is stuck."""

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
    """A context in which this process leaves with exit code 143 after `timeout` seconds without a sign of life.

    It warns after half of them. While the chief alone is busy with an evaluation, it touches a file on the shared disk,
    and this counts as a sign of life for all workers that wait for it.
    """

    def __init__(self, timeout: float, sign: pathlib.Path):
        """Prepares.

        Args:
          timeout: seconds; 0: never.
          sign: the file that the chief touches.
        """
        self._timeout = timeout
        self._sign = sign
        self._changed = self._signed = 0.0
        self._period = min(timeout / 20, 1.0)
        self._now = self._heard = 0.0  # as of the last look
        self._doing = "starting"
        self._stopped = threading.Event()

    def __enter__(self) -> "Watchdog":
        if self._timeout:
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def heard(self, doing: str) -> None:
        self._doing, self._heard = doing, self._now

    def heard_by_all(self, doing: str) -> None:
        self.heard(doing)
        now = time.monotonic()
        if now - self._signed > _SIGN_SECONDS:
            self._signed = now
            with contextlib.suppress(OSError):
                os.utime(self._sign)

    def __exit__(self, *_) -> None:
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
        """Counts a new sign of the chief as this process's own if it waits for the chief."""
        with contextlib.suppress(OSError):
            changed = self._sign.stat().st_mtime
            if changed != self._changed and self._doing == WAITING:
                self.heard(self._doing)
            self._changed = changed
