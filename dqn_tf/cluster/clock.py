"""Measures the time in which this process ran, not in which SIGSTOP or `docker pause` stopped it."""

import time


class RunningClock:
    """Counts the seconds between calls of `seconds`; a long gap, in which the process was stopped, counts less."""

    def __init__(self, period: float):
        """Starts at 0.

        Args:
          period: expected seconds between two calls; a gap counts as two of them at most.
        """
        self._longest = 2 * period
        self._last = time.monotonic()
        self._seconds = 0.0

    def seconds(self) -> float:
        """Returns the seconds since the start."""
        now = time.monotonic()
        self._seconds += min(now - self._last, self._longest)
        self._last = now
        return self._seconds
