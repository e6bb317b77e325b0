"""Four workers on four machines with addresses of their own, of which one is cut off the network and put back."""

import json
import time

import pytest

from dqn_tf.persistence import manifest
from tests import hosts, runs

pytestmark = pytest.mark.soak
NAMES = ["trainer-0", "trainer-1", "trainer-2", "trainer-3"]
# 15 s are what a user is promised on an idle machine; this one may be busy with other tests.
PATIENCE_SECONDS = 45
PERIODS = ["--train_env_steps=1400", "--log_period=120", "--checkpoint_period=280", "--eval_period=360"]
FLAGS = [*runs.SMALL, "--strategy=multiworker", *PERIODS]


@pytest.fixture
def network():
    if hosts.why_not():
        pytest.skip(hosts.why_not())
    with hosts.hosts(NAMES) as made:
        yield made


def start(network, logdir):
    """Starts train.py on every machine, and returns the processes."""
    cluster = {"worker": [f"{network.addresses[name]}:2222" for name in NAMES]}
    tasks = [{"cluster": cluster, "task": {"type": "worker", "index": index}} for index in range(len(NAMES))]
    return [
        runs.start(*FLAGS, f"--logdir={logdir}", before=network.command(name, []), TF_CONFIG=json.dumps(task))
        for name, task in zip(NAMES, tasks, strict=True)
    ]


def finish(network, logdir):
    """Runs train.py on every machine to its end; returns what each has written to stderr."""
    done = [runs.finish(process) for process in start(network, logdir)]
    assert [process.returncode for process in done] == [0] * len(NAMES), [process.stderr for process in done]
    return [process.stderr for process in done]


def finish_cut(network, logdir, name, env_steps):
    """The same, with a machine that is cut off once there is the checkpoint of `env_steps`: asserts that all leave.

    Returns:
      After how many seconds each was seen to have left.
    """
    processes = start(network, logdir)
    try:
        give_up = time.monotonic() + runs.SECONDS
        while env_steps not in manifest.numbers(logdir / "checkpoints"):
            assert time.monotonic() < give_up and {process.poll() for process in processes} == {None}
            time.sleep(0.001)
        network.cut(name)
        begin = time.monotonic()
        left = [(process.wait(PATIENCE_SECONDS), round(time.monotonic() - begin, 1)) for process in processes]
    finally:
        network.mend(name)
        for process in processes:
            runs.kill(process)
    codes, seconds = zip(*left, strict=True)
    said = [runs.finish(process).stderr for process in processes]
    assert codes == (143,) * len(NAMES), said
    assert all("leaving with exit code 143" in text and "Traceback" not in text for text in said), said
    return seconds


def test_cluster_of_which_a_follower_and_then_the_leader_is_cut_off_leaves_and_comes_to_the_same(
    network, tmp_path, record_property
):
    finish(network, tmp_path / "left_alone")
    for name, env_steps in (("trainer-2", 280), ("trainer-0", 1120)):
        record_property(name, finish_cut(network, tmp_path / "cut", name, env_steps))
    assert "ckpt-1120 at 1120 env steps" in finish(network, tmp_path / "cut")[0]
    assert runs.fingerprint(tmp_path / "cut") == runs.fingerprint(tmp_path / "left_alone")
