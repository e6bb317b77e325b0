"""A run that gets a signal to stop ends its round, saves, and exits with 128 + the number: 143, 130, 129."""

import contextlib
import os
import signal
from collections.abc import Iterator

from dqn_tf.process import signals


class Stopped(Exception):
    """The run has been saved and must end.

    Attributes:
      exit_code: 128 + the number of the signal.
    """

    def __init__(self, number: int, reason: str = ""):
        super().__init__(reason or signal.Signals(number).name)
        self.exit_code = 128 + number


class Interrupted(Exception):
    """Work was interrupted, because the run must stop."""


class Stop:
    """The signal that has asked this process to stop. This class, for the library, handles no signals.

    Attributes:
      number: of the signal, 0 if there was none.
    """

    def __init__(self):
        self.number = 0

    @contextlib.contextmanager
    def waited_for(self) -> Iterator[None]:
        """Returns a context in which a signal is only noted, because the caller checks `number` regularly."""
        yield

    def check(self) -> None:
        """Raises Interrupted if the process must stop."""
        if self.number:
            raise Interrupted


class SignalStop(Stop):
    """Handles the signals that ask a process to stop, for a command."""

    def __init__(self):
        super().__init__()
        self._is_waited_for = False
        self._impatience = signals.Impatience()

    def install(self) -> None:
        """Sets the handlers, in the main thread. Outside of `waited_for` a signal ends the process at once."""
        signals.take(self._handle)

    @contextlib.contextmanager
    def waited_for(self) -> Iterator[None]:
        self.install()  # again: some environments set their own handler of SIGINT
        self._is_waited_for = True
        try:
            yield
        finally:
            self._is_waited_for = False
        if self.number:  # the caller has not seen it
            raise Stopped(self.number)

    def _handle(self, number, frame):
        name = signal.Signals(number).name
        if self._impatience.grows(number) or not self._is_waited_for:
            _tell(f"{name}: leaving at once; the same command with the same --logdir resumes from its last checkpoint")
            os._exit(128 + number)
        if not self.number:
            self.number = number
            _tell(f"{name}: saving at the end of this round")


def _tell(line):
    with contextlib.suppress(OSError):  # not by logging, which may be in the middle of a line
        os.write(2, f"{line}\n".encode())
