"""Instances in processes: what they answer, and that none is left behind."""

import functools
import multiprocessing
import os
import pathlib
import signal
import sys
import time

import pytest

from dqn_tf.environment import pool, spec
from tests import runs
from tests.environment.scripted import Scripted, makers


@pytest.fixture(scope="module")
def processes():
    made = pool.Processes(makers(2))
    yield made
    made.close()


@pytest.fixture(params=["here", "processes"])
def pair(request):
    """Returns a pool of two, of each kind in turn."""
    return pool.Here(makers(2)) if request.param == "here" else request.getfixturevalue("processes")


@pytest.fixture
def no_more_processes():
    """Asserts that the test leaves no process behind."""
    before = set(multiprocessing.active_children())
    yield
    assert set(multiprocessing.active_children()) == before


def test_call_gives_the_answer_of_each_and_none_of_those_that_are_not_called(pair):
    assert pair.call("add", [(10,), (20,)]) == [10, 1 + 20]
    assert pair.call("add", [None, (20,)]) == [None, 1 + 20]
    assert pair.call("add", [None, None]) == [None, None]


def test_call_where_some_fail_raises_what_the_first_of_them_says_and_the_next_call_has_its_own_answers(pair):
    for messages, said in [((("",), ("broken",)), "1: broken"), ((("bent",), ("broken",)), "0: bent")]:
        with pytest.raises(spec.EnvironmentFailure) as raised:
            pair.call("fail", messages)
        assert (str(raised.value), raised.value.trace) == (f"environment {said}", "its trace")
    assert pair.call("add", [(10,), (20,)]) == [10, 1 + 20]


def test_programs_that_an_environment_starts_can_be_terminated(processes):
    assert processes.call("start_and_terminate_a_program", [(), None]) == [-signal.SIGTERM, None]


def test_call_of_a_process_that_is_gone_names_it_and_how_it_went(no_more_processes):
    made = pool.Processes(makers(3))
    pids = made.call("pid", [()] * 3)
    with pytest.raises(spec.EnvironmentLost, match="^the process of environment 2 left with exit code 3$"):
        made.call("leave", [None, None, (3,)])
    os.kill(pids[1], signal.SIGKILL)
    killed = "^the process of environment 1 was killed by SIGKILL, maybe because memory ran out$"
    for _ in range(2):  # whether it is noticed when it is told or when it should answer
        with pytest.raises(spec.EnvironmentLost, match=killed):
            made.call("pid", [None, (), None])
        made._processes[1].join()
    made.close()
    made.close()  # a second time changes nothing


def test_close_ends_those_that_do_not_answer_and_tells_what_the_others_have_against_it(no_more_processes, monkeypatch):
    monkeypatch.setattr(pool, "_CLOSE_SECONDS", 2.0)
    each = [dict(close="OSError: no port"), dict(close="waits"), dict()]
    made = pool.Processes([functools.partial(Scripted, number, **how) for number, how in enumerate(each)])
    begin = time.monotonic()
    assert made.close() == ["OSError: no port", "has not returned in 5 s"]
    assert time.monotonic() - begin < 5
    assert pool.Here(makers(2, close="OSError: no port")).close() == ["OSError: no port"] * 2


@pytest.mark.parametrize("kind", [pool.Here, pool.Processes])
def test_pool_whose_second_instance_cannot_be_made_raises_that_and_ends_the_others(no_more_processes, kind):
    closed = []
    first = functools.partial(Scripted, 0)
    if kind is pool.Here:
        first = lambda: Closing(closed)  # noqa: E731
    with pytest.raises(spec.EnvironmentFailure, match="^environment 1 cannot be made$") as raised:
        kind([first, functools.partial(Scripted, 1, ill="raises")])
    assert raised.value.trace == "its trace"
    assert closed == [True] * (kind is pool.Here)


class Closing(Scripted):
    """Notes in a list that it was closed."""

    def __init__(self, closed):
        super().__init__(0)
        self._closed = closed

    def close(self):
        self._closed.append(True)
        return ""


def test_pool_whose_process_leaves_while_it_starts_names_it(no_more_processes):
    with pytest.raises(spec.EnvironmentLost, match="^the process of environment 0 left with exit code 4$"):
        pool.Processes(makers(1, ill="leaves"))


# What becomes of them with the process that has started them.

PROGRAM = """
import os, signal, sys, threading, time
from dqn_tf.environment import pool
from tests.environment import scripted

def ends(how):
    made = pool.Processes(scripted.makers(2))
    print(*made.call("pid", [()] * 2), flush=True)
    made._pipes[0].send(("wait", ()))  # one is busy, one waits for its next call
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL) if how == "killed" else os._exit(0)

def signals():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    stop = threading.Event()

    def send():
        while not stop.wait(0.02):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.killpg(0, number)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()  # before, while and after they start
    made = pool.Processes(scripted.makers(2))
    time.sleep(0.2)
    print(*made.call("add", [(10,), (20,)]), flush=True)
    stop.set()
    sender.join()
    made.close()

if __name__ == "__main__":
    signals() if sys.argv[1] == "signals" else ends(sys.argv[1])
"""


@pytest.fixture
def program(tmp_path):
    """Returns a function that starts PROGRAM, in a session of its own."""
    path, started = tmp_path / "program.py", []
    path.write_text(PROGRAM)

    def start(how):
        started.append(runs.start(how, program=(str(path),), PYTHONPATH=str(runs.ROOT)))
        return started[-1]

    yield start
    for process in started:
        runs.kill(process)


def is_running(pid):
    try:
        return ") Z" not in pathlib.Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends them")
def test_processes_end_with_the_one_that_started_them_however_it_ends(program):
    for process in [program(how) for how in ("killed", "leaves")]:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2
        process.wait(runs.SECONDS)
        give_up = time.monotonic() + 10
        while any(map(is_running, pids)) and time.monotonic() < give_up:
            time.sleep(0.05)
        assert not any(map(is_running, pids))


def test_signals_to_all_leave_the_processes_alone(program):
    process = runs.finish(program("signals"))
    assert (process.returncode, process.stdout, process.stderr) == (0, f"10 {1 + 20}\n", "")
