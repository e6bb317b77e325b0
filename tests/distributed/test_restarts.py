"""The local cluster starts again by itself what was lost, and comes to the same."""

import os
import signal
import time

import pytest

from dqn_tf.persistence import manifest
from tests import marks, runs

pytestmark = pytest.mark.thorough
PERIODS = ["--train_env_steps=2000", "--log_period=120", "--checkpoint_period=280", "--eval_period=360"]
FLAGS = [*runs.SMALL, "--strategy=multiworker", *PERIODS]


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory):
    """Returns the fingerprint of a run that nothing happened to."""
    logdir = tmp_path_factory.mktemp("restarts") / "left_alone"
    done = runs.command(*FLAGS, f"--logdir={logdir}")
    assert done.returncode == 0, done.stderr
    return runs.fingerprint(logdir)


def worker(launcher, index):
    """Returns the process id of a worker, once it is there."""
    when(launcher, lambda: index in runs.workers(launcher.pid))
    return runs.workers(launcher.pid)[index]


def when(launcher, is_time):
    give_up = time.monotonic() + runs.SECONDS
    while not is_time():
        assert time.monotonic() < give_up and launcher.poll() is None, launcher.communicate()
        time.sleep(0.0005)


def has(logdir, number):
    return lambda: number in manifest.numbers(logdir / "checkpoints")


KILLS = {
    "worker, and then leader": [(1, 280, None), (0, 1680, None)],
    "leader while it saves": [(0, None, "checkpoints/ckpt-560/model.index")],
    "before any checkpoint": [(1, None, "config.json")],
    "leader at the end": [(0, 2000, None)],
}


@pytest.mark.parametrize("moment", [*KILLS][:1] + marks.soak(*[*KILLS][1:]))
def test_cluster_with_kills_starts_again_and_comes_to_the_same(left_alone, tmp_path, moment):
    launcher = runs.start(*FLAGS, "--resume=never", f"--logdir={tmp_path}")  # which is about the first start
    try:
        for index, number, name in KILLS[moment]:
            when(launcher, has(tmp_path, number) if number else lambda name=name: (tmp_path / name).exists())
            before = set(runs.family(launcher.pid))
            os.kill(worker(launcher, index), signal.SIGKILL)
            when(launcher, lambda before=before: not before & set(runs.family(launcher.pid)))
    finally:
        done = runs.finish(launcher)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("starting all again in 1 s, try 1 of 3") == len(KILLS[moment])
    assert runs.fingerprint(tmp_path) == left_alone


def test_cluster_whose_worker_is_asked_to_stop_saves_starts_again_and_comes_to_the_same(left_alone, tmp_path):
    launcher = runs.start(*FLAGS, f"--logdir={tmp_path}")
    when(launcher, has(tmp_path, 280))
    os.kill(worker(launcher, 1), signal.SIGTERM)
    done = runs.finish(launcher)
    assert done.returncode == 0, done.stderr
    assert "starting all again" in done.stderr
    found, expected = runs.fingerprint(tmp_path), dict(left_alone)
    del found["checkpoints"], expected["checkpoints"]
    assert found == expected


def test_cluster_that_is_lost_again_and_again_gives_up(tmp_path):
    argv = [*FLAGS, "--env=tests.environments:Killed-v0", "--checkpoint_period=0", "--max_restarts=1"]
    done = runs.command(*argv, f"--logdir={tmp_path}")
    assert done.returncode in (137, 143), done.stderr  # who of the two left first
    assert done.stderr.count("starting all again in 1 s, try 1 of 1") == 1
    assert "cluster: lost 2 times without a new checkpoint in between (--max_restarts=1), giving up" in done.stderr


def test_cluster_that_fails_by_itself_is_not_started_again(tmp_path):
    done = runs.command(*FLAGS, "--env=tests.environments:Raises-v0", f"--logdir={tmp_path}")
    assert done.returncode == 1, done.stderr
    assert "starting all again" not in done.stderr
