"""SIGTERM and SIGINT: a run asked to stop ends its round, saves, and leaves with 143 or 130."""

import contextlib
import os
import signal


class Stopped(Exception):
    """The run has been saved and is to end.

    Attributes:
      exit_code: 128 + the number of the signal.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Interrupted(Exception):
    """What was under way was left, because the run is to stop."""


class Stop:
    """Which signal has asked this process to stop.

    Attributes:
      number: of the signal, 0 where there was none.
    """

    def __init__(self):
        self.number = 0
        self._is_waited_for = False

    def install(self) -> None:
        """Takes both signals over, in the main thread. They end the process at once where nobody would wait for it."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    @contextlib.contextmanager
    def waited_for(self):
        """Returns a context in which a signal is only noted, because somebody looks at `number` now and then."""
        self._is_waited_for = True
        try:
            yield
        finally:
            self._is_waited_for = False
        if self.number:  # nobody has looked since
            raise Stopped(self.number)

    def check(self) -> None:
        """Raises Interrupted where the process is to stop."""
        if self.number:
            raise Interrupted

    def _handle(self, number, frame):
        is_second = number == signal.SIGINT and self.number == signal.SIGINT
        if is_second or not self._is_waited_for:
            os._exit(128 + number)
        self.number = self.number or number
        line = f"{signal.Signals(number).name}: saving at the end of this round\n"
        with contextlib.suppress(OSError):  # not through the log, which may be in the middle of a line
            os.write(2, line.encode())
