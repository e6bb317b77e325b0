import json
import logging
import os
import pathlib
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from dqn_tf.cluster import children, launcher, topology
from dqn_tf.config import schema

ROOT = str(pathlib.Path(__file__).parents[2])
SECONDS = 20  # no test waits longer for a process

# Alarms end every process, should a test fail to.
LAUNCHER = """
import signal, sys
from dqn_tf.cluster import launcher
signal.alarm(30)
launcher._GRACE_SECONDS = launcher._SAVE_SECONDS = float(sys.argv[1])
launcher._SETTLE_SECONDS = 0.1
sys.exit(launcher.run(sys.argv[3:], int(sys.argv[2])))
"""
WORKER = """
import json, os, signal, sys, time
signal.alarm(30)
me = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
def tell(text):
    print(text, flush=True)
def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)
def tell_pid_of_0():
    open("pid.part", "w").write(str(os.getpid()))
    os.rename("pid.part", "pid")
def wait_until_0_is_reaped():
    wait_for("pid")
    try:
        while True:
            os.kill(int(open("pid").read()), 0)
            time.sleep(0.01)
    except ProcessLookupError:
        pass
"""
SLEEP = "tell(os.getpid()); time.sleep(60)"
IGNORE_SIGTERM = "signal.signal(signal.SIGTERM, lambda *_: tell('asked'))\n"
AFTER_SIGTERM = "signal.signal(signal.SIGTERM, lambda *_: (tell('asked'), sys.exit(0)))\n"


def command(worker, num_workers=2, grace=60.0):
    return [sys.executable, "-c", LAUNCHER, str(grace), str(num_workers), sys.executable, "-c", WORKER + worker]


def environment(**extra):
    inherited = {k: v for k, v in os.environ.items() if k not in ("CUDA_VISIBLE_DEVICES", "TF_CONFIG")}
    return {**inherited, "CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": ROOT, **extra}


@pytest.fixture
def run(tmp_path):
    """Returns a function that runs workers to their end and returns the CompletedProcess of their launcher."""

    def run(worker, num_workers=2, grace=60.0, **extra):
        return subprocess.run(
            command(worker, num_workers, grace),
            cwd=tmp_path,
            env=environment(**extra),
            capture_output=True,
            timeout=SECONDS,
        )

    return run


@pytest.fixture
def start(tmp_path):
    """Returns a function that starts two workers and returns their launcher and the pids they have told."""
    launchers, pids = [], []

    def start(worker, grace=60.0):
        launcher = subprocess.Popen(
            command(worker, 2, grace), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
        )
        launchers.append(launcher)
        told = [int(launcher.stdout.readline().split("] ")[1]) for _ in range(2)]
        pids.extend(told)
        return launcher, told

    yield start
    for started in launchers:
        started.kill()
        started.wait(SECONDS)
        started.stdout.close()
    for pid in filter(is_running, pids):
        os.kill(pid, signal.SIGKILL)


def is_running(pid):
    """Returns whether process `pid` is there and no zombie; an orphan is not ours to reap."""
    if sys.platform == "linux":
        try:
            state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].strip()
        except (FileNotFoundError, ProcessLookupError):
            return False
    else:
        asked = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, timeout=SECONDS)
        state = asked.stdout.strip()
    return state[:1] not in ("", "Z")


def wait_until_gone(pids):
    give_up = time.monotonic() + SECONDS
    while left := [pid for pid in pids if is_running(pid)]:
        assert time.monotonic() < give_up, f"still running: {left}"
        time.sleep(0.02)


def lines_of(output):
    return sorted(line for line in output.decode().splitlines() if line.startswith("[worker"))


# Output.


def test_run_prefixes_every_line_of_both_streams(run):
    done = run("print('a', me); print(); print('b', me, file=sys.stderr)")
    assert done.returncode == 0
    assert lines_of(done.stdout) == ["[worker 0] ", "[worker 0] a 0", "[worker 1] ", "[worker 1] a 1"]
    assert lines_of(done.stderr) == ["[worker 0] b 0", "[worker 1] b 1"]


def test_run_keeps_the_carriage_returns_of_a_bar(run):
    done = run(r"os.write(1, b'\r 10%'); os.write(1, b'\r 20%'); os.write(1, b'\r100%\nend\r\n')", num_workers=1)
    assert done.stdout == b"[worker 0]  10%\r[worker 0]  20%\r[worker 0] 100%\n[worker 0] end\r\n"


@pytest.mark.parametrize(
    "written, forwarded",
    [
        ("b'no end'", b"[worker 0] no end\n"),
        ("b'bar\\r'", b"[worker 0] bar\r"),
        ("b'\\xff\\n'", b"[worker 0] \xff\n"),
        ("b''", b""),
    ],
)
def test_run_when_a_worker_ends_forwards_the_rest(run, written, forwarded):
    assert run(f"os.write(1, {written})", num_workers=1).stdout == forwarded


def test_run_when_a_line_end_is_cut_in_two_writes_one_line(run):
    wait_until_read = "while int.from_bytes(fcntl.ioctl(1, termios.FIONREAD, bytes(4)), sys.byteorder): pass\n"
    done = run(
        "import fcntl, termios\nos.write(1, b'a\\r')\n" + wait_until_read + "os.write(1, b'\\nb\\n')", num_workers=1
    )
    assert done.stdout == b"[worker 0] a\r\n[worker 0] b\n"


def test_run_writes_whole_lines_when_workers_write_in_pieces(run):
    done = run("for i in range(100):\n  for _ in range(3): os.write(1, b'%d' % me * 3000)\n  os.write(1, b'\\n')")
    expected = [f"[worker {i}] {str(i) * 9000}" for i in (0, 1) for _ in range(100)]
    assert lines_of(done.stdout) == expected
    assert done.stdout.count(b"\n") == 200


def test_console_when_only_parts_can_be_written_keeps_lines_whole(tmp_path, monkeypatch):
    console, whole_write = children.Console(), os.write

    def write_two_bytes(descriptor, output):
        time.sleep(0)  # lets the other thread in
        return whole_write(descriptor, output[:2])

    monkeypatch.setattr(os, "write", write_two_bytes)
    with open(tmp_path / "out", "wb") as out:
        lines = [(b"text", b"\n")] * 200
        threads = [
            threading.Thread(target=console.write, args=(out.fileno(), prefix, lines)) for prefix in (b"[0] ", b"[1] ")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
    assert sorted((tmp_path / "out").read_bytes().splitlines()) == [b"[0] text"] * 200 + [b"[1] text"] * 200


def test_run_when_nobody_reads_its_output_lets_the_workers_finish(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    worker = "for _ in range(9): tell('x' * 9000)\nopen(f'done{me}', 'w')"
    try:
        done = subprocess.run(command(worker), cwd=tmp_path, env=environment(), stdout=writing, timeout=SECONDS)
    finally:
        os.close(writing)
    assert done.returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["done0", "done1"]


# Exit codes.


def test_run_when_a_worker_fails_returns_its_code_and_stops_the_others(run):
    done = run(AFTER_SIGTERM + "if me: wait_for('ready'); sys.exit(7)\nopen('ready', 'w'); time.sleep(60)")
    assert done.returncode == 7
    assert lines_of(done.stdout) == ["[worker 0] asked"]
    assert b"stopping, because of worker 1, which left with exit code 7" in done.stderr


def test_run_when_stopped_workers_fail_too_returns_the_first_code(run):
    fail_when_asked = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"
    done = run(fail_when_asked + "if me: wait_for('ready'); sys.exit(7)\nopen('ready', 'w'); time.sleep(60)")
    assert done.returncode == 7


def test_run_when_the_cause_leaves_after_its_victim_returns_its_code_and_names_it(run):
    fail_when_asked = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
    done = run(fail_when_asked + "if me: open('ready', 'w'); time.sleep(60)\nwait_for('ready'); sys.exit(143)")
    assert done.returncode == 7
    assert b"stopping, because of worker 0, which left with exit code 143" in done.stderr
    assert b"the cause is worker 1, which left with exit code 7" in done.stderr


def test_run_when_a_worker_is_killed_returns_137(run):
    assert run("if me: os.kill(os.getpid(), 9)\ntime.sleep(60)").returncode == 128 + 9


def test_run_when_a_worker_does_not_stop_kills_it_after_the_grace(run):
    fail = "if me: wait_for('ready'); sys.exit(7)\nopen('ready', 'w')\nwhile True: time.sleep(60)"
    done = run(IGNORE_SIGTERM + fail, grace=0.2)
    assert done.returncode == 7
    assert lines_of(done.stdout) == ["[worker 0] asked"]


def test_run_when_one_worker_is_done_waits_for_the_others(run):
    done = run("if me:\n  wait_until_0_is_reaped()\nelse:\n  tell_pid_of_0()\ntell('done')")
    assert done.returncode == 0
    assert lines_of(done.stdout) == ["[worker 0] done", "[worker 1] done"]


def test_run_when_a_worker_leaves_a_process_behind_kills_it(run):
    behind = "import subprocess; tell(subprocess.Popen(['sleep', '60']).pid)"
    done = run(behind, num_workers=1)  # returns at all: the process holds the worker's stdout
    assert done.returncode == 0
    wait_until_gone([int(done.stdout.split()[-1])])


def test_run_when_the_command_is_missing_raises_and_restores_the_signals(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(FileNotFoundError):
        launcher.run(["/no/such/command"], 2)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# Signals and orphans.


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_run_when_signalled_stops_all_workers(start, number, code):
    launcher, pids = start(AFTER_SIGTERM + SLEEP)
    launcher.send_signal(number)
    assert launcher.wait(SECONDS) == code
    assert launcher.stdout.read().splitlines().count("[worker 0] asked") == 1
    wait_until_gone(pids)


def test_run_when_interrupted_twice_kills_at_once(start):
    launcher, pids = start(IGNORE_SIGTERM + "tell(os.getpid())\nwhile True: time.sleep(60)", grace=600.0)
    for _ in range(2):  # as `timeout` and the like pass on what the terminal has sent already: nobody means now
        launcher.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert {launcher.stdout.readline() for _ in range(2)} == {"[worker 0] asked\n", "[worker 1] asked\n"}
    time.sleep(0.5)
    assert launcher.poll() is None
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(SECONDS) == 130
    wait_until_gone(pids)


def test_run_when_interrupted_from_the_keyboard_signals_only_the_launcher(start):
    launcher, pids = start(SLEEP)
    assert len({os.getsid(pid) for pid in (launcher.pid, *pids)}) == 3


FOLLOW = "from dqn_tf.cluster import launcher\n"
WITHOUT_KERNEL = (
    FOLLOW + "sys.platform = 'any'; launcher.follow_parent(); signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
)
HOLD_THE_GIL = FOLLOW + "import re; launcher.follow_parent(); tell(os.getpid()); re.match('(a+)+b', 'a' * 50)"


@pytest.mark.parametrize(
    "worker",
    [
        pytest.param(WITHOUT_KERNEL + SLEEP, id="its thread runs"),
        pytest.param(
            HOLD_THE_GIL,
            id="its thread cannot run",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals the death of a parent"),
        ),
    ],
)
def test_follow_parent_when_the_launcher_is_killed_leaves_no_worker(start, worker):
    launcher, pids = start(worker)
    launcher.kill()
    wait_until_gone(pids)


def test_follow_parent_when_not_launched_does_nothing():
    code = (
        "import threading; from dqn_tf.cluster import launcher;"
        "launcher.follow_parent(); print(threading.active_count())"
    )
    env = {k: v for k, v in environment().items() if k != "DQN_TF_LAUNCHED"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS
    )
    assert (done.returncode, done.stdout) == (0, b"1\n")


def test_follow_parent_when_stdin_ends_leaves_with_143():
    code = "import time; from dqn_tf.cluster import launcher; launcher.follow_parent(); time.sleep(60)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(DQN_TF_LAUNCHED="1"), stdin=subprocess.DEVNULL, timeout=SECONDS
    )
    assert done.returncode == 143


# What a worker is told.


def environments_of(done):
    assert done.returncode == 0, done.stderr
    return [json.loads(line.split("] ", 1)[1]) for line in lines_of(done.stdout)]


def test_run_gives_every_worker_its_task_of_one_cluster(run):
    told = environments_of(run("print(json.dumps(dict(os.environ)))", num_workers=3))
    clusters = [topology.resolve(environ) for environ in told]
    assert [(c.index, c.has_chief, c.num_workers) for c in clusters] == [(0, False, 3), (1, False, 3), (2, False, 3)]
    assert len({c.workers for c in clusters}) == 1
    assert len(set(clusters[0].workers)) == 3
    assert [a for a in clusters[0].workers if not re.fullmatch(r"127\.0\.0\.1:\d+", a)] == []


def test_run_when_stderr_is_no_terminal_asks_for_lines(run):
    told = environments_of(run("print(json.dumps(dict(os.environ)))", num_workers=1))[0]
    names = ("DQN_TF_LAUNCHED", "DQN_TF_PROGRESS", "PYTHONUNBUFFERED", "COLUMNS", "CUDA_VISIBLE_DEVICES")
    assert [told[name] for name in names] == ["1", "lines", "1", str(80 - len("[worker 0] ")), "-1"]


def test_run_when_stderr_is_a_terminal_asks_for_a_bar_and_erases_the_one_before(tmp_path):
    worker = r"os.write(2, b'\r 50%\r'); print(os.environ['DQN_TF_PROGRESS'], os.environ['COLUMNS'])"
    terminal, inner = pty.openpty()
    try:
        done = subprocess.run(
            command(worker, num_workers=1),
            cwd=tmp_path,
            env=environment(TERM="xterm"),
            stdout=subprocess.PIPE,
            stderr=inner,
            timeout=SECONDS,
        )
        os.set_blocking(terminal, False)  # nothing written is an error, not a wait
        written = os.read(terminal, 4096)
    finally:
        os.close(inner)
        os.close(terminal)
    assert done.stdout.startswith(b"[worker 0] bar 69\n")  # 80 where the terminal does not say, less the prefix
    assert b"\x1b[K[worker 0]  50%\r" in written


def test_run_of_many_workers_logs_their_number_and_some_ports(monkeypatch, caplog):
    monkeypatch.setattr(launcher, "_free_ports", lambda count: list(range(9000, 9000 + count)))
    monkeypatch.setattr(os, "isatty", lambda descriptor: False)
    caplog.set_level(logging.INFO)
    assert len(launcher._environments(1000, [None] * 1000)) == 1000
    assert caplog.messages == [
        "cluster: 1000 workers on this machine, 127.0.0.1 ports 9000, 9001, 9002, 9003, 9004, 9005, 9006, 9007, ..., "
        "because nothing names a cluster"
    ]


def test_free_ports_are_different_and_free():
    ports = launcher._free_ports(50)
    assert len(set(ports)) == 50
    for port in ports[:5]:
        with socket.socket() as server:
            server.bind(("127.0.0.1", port))


# GPUs.


def test_run_shares_out_the_gpus_in_order(run):
    done = run("print(os.environ['CUDA_VISIBLE_DEVICES'])", CUDA_VISIBLE_DEVICES="7,5,3,1")
    assert lines_of(done.stdout) == ["[worker 0] 7,5", "[worker 1] 3,1"]


@pytest.mark.parametrize(
    "gpus, num_workers, problem",
    [
        (
            "0,1",
            4,
            "--num_workers=4 but 2 GPUs are visible; give 2 at most, or set CUDA_VISIBLE_DEVICES=-1 to train on CPUs.",
        ),
        (
            "0",
            2,
            "--num_workers=2 but 1 GPU is visible; give 1 at most, or set CUDA_VISIBLE_DEVICES=-1 to train on CPUs.",
        ),
        (
            "0,1,2,3,4,5,6,7",
            3,
            "--num_workers=3 but 8 GPUs are visible, and every worker must have as many; try 2 or 4, "
            "or set CUDA_VISIBLE_DEVICES=-1 to train on CPUs.",
        ),
        (
            "0,1,2",
            2,
            "--num_workers=2 but 3 GPUs are visible, and every worker must have as many; try 1 or 3, "
            "or set CUDA_VISIBLE_DEVICES=-1 to train on CPUs.",
        ),
    ],
)
def test_run_when_gpus_cannot_be_shared_out_is_refused_before_anything_starts(monkeypatch, gpus, num_workers, problem):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    with pytest.raises(schema.ConfigError) as error:
        launcher.run(["/no/such/command"], num_workers)
    assert error.value.problems == (problem,)


def test_chief_and_only_it_inherits_the_lock(tmp_path):
    locked = "import fcntl; lock = open('lock', 'w'); fcntl.flock(lock, fcntl.LOCK_EX)"
    program = LAUNCHER.replace("signal.alarm(30)", locked).replace("argv[2])", "argv[2]), lock=lock.fileno()")
    worker = """
import fcntl
from dqn_tf.cluster import launcher
lock = launcher.take_lock()
assert (lock is None) == (me == 1) and launcher.take_lock() is None and "DQN_TF_LOCK" not in os.environ
if me == 0:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
"""
    words = command(worker)
    words[2] = program
    done = subprocess.run(words, cwd=tmp_path, env=environment(), capture_output=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
