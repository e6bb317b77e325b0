"""Workers whose peers are dead, frozen, stuck or never there: all leave with 143, soon, and say why."""

import json
import os
import signal
import socket
import threading
import time

import pytest

from tests import marks, runs

LONG = ["--train_env_steps=10000000", "--replay_capacity=10000", "--eval_period=0", "--checkpoint_period=0"]
ENDLESS = "--env=tests.environments:Endless-v0"
# 15 s are what a user is promised on an idle machine; this one may be busy with other tests.
PATIENCE_SECONDS = 45
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs POSIX signals")


class Pair:
    """Two workers of a cluster; `lines` has what each has written to stderr."""

    def __init__(self, tmp_path, *argv, only=(0, 1)):
        self.addresses = runs.addresses(2)
        flags = [*runs.SMALL, *LONG, "--strategy=multiworker", f"--logdir={tmp_path}/run", *argv]
        self.workers = {i: runs.start(*flags, TF_CONFIG=self._tf_config(i)) for i in only}
        self.lines = {i: [] for i in only}
        self._readers = [threading.Thread(target=self._read, args=(i,), daemon=True) for i in only]
        for reader in self._readers:
            reader.start()

    def _tf_config(self, index):
        return json.dumps({"cluster": {"worker": self.addresses}, "task": {"type": "worker", "index": index}})

    def _read(self, index):
        for line in self.workers[index].stderr:
            self.lines[index].append(line)

    def text(self, index):
        return "".join(self.lines[index])

    def wait_for(self, index, text):
        give_up = time.monotonic() + runs.SECONDS
        while text not in self.text(index):
            assert time.monotonic() < give_up and self.workers[index].poll() is None, self.text(index)
            time.sleep(0.01)

    def leave(self, *indices, patience=PATIENCE_SECONDS):
        """Asserts that these leave with 143; returns after how many seconds the last did."""
        begin = time.monotonic()
        for index in indices:
            assert self.workers[index].wait(patience) == 143, self.text(index)
        seconds = time.monotonic() - begin
        for reader in self._readers:
            reader.join(0.5)
        for index in indices:
            assert "Traceback" not in self.text(index), self.text(index)
        return seconds

    def close(self):
        for process in self.workers.values():
            runs.kill(process)
            process.stdout.close()


@pytest.fixture
def start(tmp_path):
    pairs = []

    def start(*argv, **keywords):
        pairs.append(Pair(tmp_path, *argv, **keywords))
        return pairs[-1]

    yield start
    for pair in pairs:
        pair.close()


@pytest.mark.thorough
@pytest.mark.parametrize("index, number", [(1, signal.SIGKILL), *marks.soak((0, signal.SIGSTOP))])
def test_worker_that_gets_a_signal_makes_the_other_leave(start, record_property, index, number):
    pair = start(ENDLESS)
    pair.wait_for(0, "first update")
    os.kill(pair.workers[index].pid, number)
    record_property("seconds", pair.leave(1 - index))
    said = ("a worker was lost: ", f"worker {index} does not answer")
    assert any(line in pair.text(1 - index) for line in said)


@pytest.mark.thorough
def test_worker_that_is_killed_makes_the_other_leave_in_the_midst_of_a_slow_step(start):
    pair = start("--env=tests.environments:Slow-v0", "--learning_starts=10000")
    pair.wait_for(0, "run: ")
    time.sleep(4)  # 60 steps
    os.kill(pair.workers[0].pid, signal.SIGKILL)
    pair.leave(1)
    assert "worker 0 does not answer" in pair.text(1)


@pytest.mark.soak
def test_worker_that_is_killed_makes_the_chief_leave_in_the_midst_of_an_evaluation(start):
    pair = start(ENDLESS, "--eval_period=400", "--eval_max_episode_steps=100000000", "--eval_episodes=1")
    pair.wait_for(0, "first update")
    time.sleep(3)
    os.kill(pair.workers[1].pid, signal.SIGKILL)
    pair.leave(0)
    assert "worker 1 does not answer" in pair.text(0)


@pytest.mark.thorough
def test_long_evaluation_is_not_taken_for_a_worker_that_is_stuck(start):
    argv = ["--eval_period=400", "--eval_max_episode_steps=100000000", "--eval_episodes=1", "--round_timeout=4"]
    pair = start(ENDLESS, *argv)
    pair.wait_for(0, "first update")
    time.sleep(14)
    assert [process.poll() for process in pair.workers.values()] == [None, None]


@pytest.mark.thorough
@pytest.mark.parametrize("env", ["Left-v0", *marks.soak("KilledChief-v0")])
def test_worker_that_leaves_makes_the_other_leave(start, env):
    pair = start(f"--env=tests.environments:{env}")
    other = 0 if env == "Left-v0" else 1
    pair.wait_for(other, "strategy: ")
    pair.leave(other, patience=runs.SECONDS)


@pytest.mark.soak
def test_worker_that_is_stuck_in_python_ends_and_so_does_the_other(start):
    pair = start("--env=tests.environments:Stuck-v0", "--round_timeout=8")
    pair.leave(0, 1, patience=runs.SECONDS)
    texts = [pair.text(index) for index in (0, 1)]
    assert any("no round has ended for" in text and "leaving with exit code 143" in text for text in texts)
    assert any("at 8 s (--round_timeout) this process leaves" in text for text in texts)


@pytest.mark.thorough
def test_worker_whose_peer_never_comes_names_it_and_leaves(start):
    pair = start("--cluster_timeout=4", only=(0,))
    pair.leave(0, patience=runs.SECONDS)
    assert f"no answer in --cluster_timeout from {pair.addresses[1]}" in pair.text(0)


@pytest.mark.thorough
def test_worker_whose_peer_is_gone_before_tensorflow_connects_leaves(start):
    # Where TensorFlow waits for its peers no Python thread runs.
    pair = start("--cluster_timeout=10", only=(1,))
    host, port = pair.addresses[0].split(":")
    with socket.create_server((host, int(port))) as peer:
        peer.settimeout(runs.SECONDS)
        peer.accept()[0].close()
    pair.leave(1, patience=runs.SECONDS)
    assert "--cluster_timeout" in pair.text(1)
