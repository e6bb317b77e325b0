"""N instances of one environment, called together: one after the other in this process, or in N processes."""

import contextlib
import multiprocessing
import multiprocessing.util
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import resource_tracker
from typing import Any

from gymnasium.vector.utils import CloudpickleWrapper

from dqn_tf.environment.instance import Instance
from dqn_tf.environment.spec import EnvironmentFailure, EnvironmentLost
from dqn_tf.process import console, lifeline, signals

_CLOSE_SECONDS = 5.0
_STUCK = f"has not returned in {_CLOSE_SECONDS:.0f} s"


class Here:
    """Instances in this process."""

    def __init__(self, makers: Sequence[Callable[[], Instance]]):
        """Makes the instances. Raises EnvironmentFailure; then none is left."""
        self._instances: list[Instance] = []
        try:
            for make in makers:
                self._instances.append(make())
        except BaseException:
            self.close()
            raise

    def call(self, name: str, arguments: Sequence[tuple | None]) -> list[Any]:
        """Calls a method of each instance and returns the results; None for instances whose arguments are None.

        Raises:
          EnvironmentFailure: of the first instance that fails.
        """
        pairs = zip(self._instances, arguments, strict=True)
        return [None if given is None else getattr(instance, name)(*given) for instance, given in pairs]

    def close(self) -> list[str]:
        """Closes all; returns the errors of that. An instance that does not return in time is abandoned."""
        complaints: list[str] = []
        instances, self._instances = self._instances, []
        work = (instance.close() for instance in instances)
        closing = threading.Thread(target=complaints.extend, args=(work,), name="close", daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)
        if closing.is_alive():
            complaints.append(_STUCK)
        return [complaint for complaint in complaints if complaint]


class Processes:
    """Each instance in its own process, which ends with this process."""

    def __init__(self, makers: Sequence[Callable[[], Instance]], first_number: int = 0):
        """Makes the instances in parallel.

        Args:
          first_number: number of the first one in the run, for messages.
        Raises:
          EnvironmentFailure, EnvironmentLost: one cannot be made; then none is left.
        """
        self._first_number = first_number
        # Not fork: a lock that a thread of TensorFlow holds at that moment would stay locked in the child. Not
        # forkserver: lifeline.follow would follow the server, not this process.
        context = multiprocessing.get_context("spawn")
        self._processes, self._pipes = [], []
        self._finalize = multiprocessing.util.Finalize(self, _kill, (self._processes, self._pipes), exitpriority=100)
        try:
            with _blocked_signals():  # until the process has set its own handlers
                for number, make in enumerate(makers):
                    ours, theirs = context.Pipe()
                    arguments = (theirs, CloudpickleWrapper(make), os.getpid())
                    process = context.Process(target=_serve, args=arguments, name=f"environment {number}", daemon=True)
                    process.start()
                    self._processes.append(process)
                    self._pipes.append(ours)
                    theirs.close()
            self._receive(range(len(self._pipes)))
        except BaseException:
            self.close()  # in order: instances may hold a resource that others need
            raise

    def call(self, name: str, arguments: Sequence[tuple | None]) -> list[Any]:
        """Does the same as Here.call, in parallel. Also raises EnvironmentLost: a process is gone."""
        called = [i for i, given in enumerate(arguments) if given is not None]
        for i in called:
            try:
                self._pipes[i].send((name, arguments[i]))
            except OSError:
                raise self._lost(i) from None
        return self._receive(called)

    def _receive(self, called):
        """Returns the answers of the called instances; receives all of them before it raises a failure."""
        results, failures = [None] * len(self._pipes), []
        for i in called:
            try:
                results[i] = self._pipes[i].recv()
            except (EOFError, OSError):
                raise self._lost(i) from None
            if isinstance(results[i], EnvironmentFailure):
                failures.append(results[i])
        if failures:
            raise failures[0]
        return results

    def _lost(self, i):
        self._processes[i].join(_CLOSE_SECONDS)
        code = self._processes[i].exitcode
        how = f"was killed by {_name(-code)}" if code and code < 0 else f"left with exit code {code}"
        hint = ", maybe because memory ran out" if code == -signal.SIGKILL else ""
        return EnvironmentLost(f"the process of environment {self._first_number + i} {how}{hint}")

    def close(self) -> list[str]:
        """Does the same as Here.close; processes that do not answer in time are killed."""
        complaints, give_up = [], time.monotonic() + _CLOSE_SECONDS
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.send(("close", ()))
        for process, pipe in zip(self._processes, self._pipes, strict=True):
            process.join(max(0.0, give_up - time.monotonic()))
            if process.is_alive():
                complaints.append(_STUCK)
            with contextlib.suppress(OSError, EOFError):
                while pipe.poll():  # answers of an earlier call, then that of `close`
                    complaints.append(pipe.recv())
        self._finalize()
        return [complaint for complaint in complaints if isinstance(complaint, str) and complaint]


def _name(number):
    """Returns the name of a signal, or its number if it has none."""
    return signal.Signals(number).name if number in signal.valid_signals() & set(signal.Signals) else f"signal {number}"


def _kill(processes, pipes):
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
    for pipe in pipes:
        pipe.close()


@contextlib.contextmanager
def _blocked_signals():
    """Returns a context in which processes start with these signals blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals.ASKING)
    try:
        resource_tracker.ensure_running()  # else the first process starts it, which unblocks the signals
        signal.pthread_sigmask(signal.SIG_BLOCK, signals.ASKING)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe, make, parent):
    """Makes an instance and answers calls until it is closed."""
    lifeline.follow(parent)
    console.keep_streams()
    # The main process handles the signals: it saves the run first, and needs the environments for that.
    for number in signals.ASKING:
        signal.signal(number, _ignore)  # not SIG_IGN, which programs that the environment starts would inherit
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.ASKING)
    with contextlib.suppress(EOFError, OSError):  # the other end is gone
        try:
            instance = make.fn()
        except EnvironmentFailure as failure:
            pipe.send(failure)
            return
        pipe.send(None)
        while True:
            name, arguments = pipe.recv()
            try:
                answer = getattr(instance, name)(*arguments)
            except EnvironmentFailure as failure:
                answer = failure
            try:
                pipe.send(answer)
            except OSError:
                return
            except Exception as error:  # for instance a picture that cannot be pickled
                pipe.send(EnvironmentFailure(f"what {name} gave cannot leave its process: {error}"))
            if name == "close":
                return


def _ignore(number, frame):
    pass
