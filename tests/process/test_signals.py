import os
import pathlib
import signal
import subprocess
import sys

import pytest

from dqn_tf.process import signals

ROOT = str(pathlib.Path(__file__).parents[2])


@pytest.fixture
def handlers():
    before = signals.handlers()
    yield
    signals.give_back(before)


def test_take_leaves_ignored_what_nohup_ignores_but_not_what_shells_do(handlers):
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    before = signals.take(print)
    assert {number.name: signal.getsignal(number) is print for number in signals.ASKING} == {
        "SIGTERM": True,
        "SIGINT": True,
        "SIGHUP": False,
        "SIGXCPU": True,
        "SIGUSR1": True,
        "SIGUSR2": True,
    }
    signals.give_back(before)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


# In the context native code holds the interpreter's lock, and takes SIGTERM for itself.
NATIVE = """
import ctypes, os, signal, sys
from dqn_tf.process import signals
signals.take(lambda number, frame: os._exit(100 + number))
with signals.left_to_the_kernel():
    ctypes.CDLL(None).signal(signal.SIGTERM, signal.SIG_IGN)
    os.kill(os.getpid(), int(sys.argv[1]))
    ctypes.PyDLL(None).usleep(100000)
    print("end of the context", flush=True)
"""


@pytest.mark.parametrize(
    "number, code, output",
    [(signal.SIGTERM, 100 + signal.SIGTERM, "end of the context\n"), (signal.SIGINT, -signal.SIGINT, "")],
)
def test_signal_while_native_code_holds_the_lock_is_not_lost(number, code, output):
    done = subprocess.run(
        [sys.executable, "-c", NATIVE, str(int(number))],
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (code, output), done.stderr


def test_impatience_grows_with_a_later_ctrl_c_only(monkeypatch):
    now = iter([0.0, 0.1, 1.0, 2.0])
    monkeypatch.setattr(signals.time, "monotonic", lambda: next(now))
    impatience = signals.Impatience()
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGINT)
    assert [impatience.grows(number) for number in numbers] == [False, False, False, True]
