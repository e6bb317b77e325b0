"""A run asked to stop by a signal ends its round, saves, and leaves with 128 + its number: 143, 130, 129."""

import contextlib
import os
import signal

from dqn_tf.process import signals


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
    """Which signal has asked this process to stop. As it is here, for a library, none does.

    Attributes:
      number: of the signal, 0 if there was none.
    """

    def __init__(self):
        self.number = 0

    @contextlib.contextmanager
    def waited_for(self):
        """Returns a context in which a signal is only noted, because somebody looks at `number` now and then."""
        yield

    def check(self) -> None:
        """Raises Interrupted if the process is to stop."""
        if self.number:
            raise Interrupted


class SignalStop(Stop):
    """Takes the signals over that ask a process to stop, for a command."""

    def __init__(self):
        super().__init__()
        self._is_waited_for = False
        self._impatience = signals.Impatience()

    def install(self) -> None:
        """Takes the signals over, in the main thread. They end the process at once if nobody would wait for it."""
        signals.take(self._handle)

    @contextlib.contextmanager
    def waited_for(self):
        self.install()  # environments have been made since, some of which take SIGINT for themselves
        self._is_waited_for = True
        try:
            yield
        finally:
            self._is_waited_for = False
        if self.number:  # nobody has looked since
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
    with contextlib.suppress(OSError):  # not through the log, which may be in the middle of a line
        os.write(2, f"{line}\n".encode())
