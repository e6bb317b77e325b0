"""Time in which this process ran: while it is stopped, by SIGSTOP, `docker pause` or a frozen machine, none passes."""

import time


class RunningClock:
    """Counts seconds by being looked at: of a gap between two looks no more counts than a busy machine makes of one."""

    def __init__(self, period: float):
        """Begins at 0.

        Args:
          period: seconds between two looks; of a longer gap twice as many count at most.
        """
        self._longest = 2 * period
        self._last = time.monotonic()
        self._seconds = 0.0

    def seconds(self) -> float:
        """Looks, and returns the seconds since the beginning."""
        now = time.monotonic()
        self._seconds += min(now - self._last, self._longest)
        self._last = now
        return self._seconds
