"""A run that was killed or asked to stop, whenever, and goes on is the run that was left alone, by hash of all."""

import random
import signal
import time

import pytest

from dqn_tf.persistence import manifest
from tests import marks, runs

# With state and random numbers.
OWN = "--network=tests.distributed.own_code:normalized_dropout"
KINDS = {
    "default": [],
    "mirrored": ["--strategy=mirrored", OWN],
    "multiworker": ["--strategy=multiworker", "--batch_size=16", OWN],
    "atari": [
        "--env=ALE/Pong-v5",
        "--atari_protocol=nature",
        "--train_env_steps=600",
        "--checkpoint_period=200",
        "--eval_period=200",
        "--eval_max_episode_steps=20",
        "--final_eval_episodes=2",
        "--replay_capacity=320",  # it wraps
        "--replay_ratio=0.05",
    ],
}
MORE_KINDS = {
    "n-step 10": ["--n_step=10"],
    "async": ["--vectorization=async"],
    "masks": ["--env=tests.environments:Mines-v0"],
    "Dict observations": ["--env=tests.environments:Mixed-v0"],
    # Priorities, noise and statistics of two workers; others: tests/training/test_variant_runs.py.
    "btr": ["--preset=btr", "--normalize_observations", "--normalization=layer", "--strategy=multiworker"],
}
ON_DEVICE = (str(runs.ROOT / "tests" / "distributed" / "on_device.py"),)
# The rows and the checkpoints of these fall between one another.
PERIODS = ["--log_period=120", "--checkpoint_period=280", "--eval_period=360"]


def flags(kind):
    return [*runs.SMALL, *PERIODS, *{**KINDS, **MORE_KINDS}[kind]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def left_alone(folder):
    """Returns a function from a kind to the fingerprint of a run that nothing happened to, and its seconds."""
    known = {}

    def left_alone(kind):
        if kind not in known:
            begin = time.monotonic()
            done = runs.command(*flags(kind), f"--logdir={folder / kind}")
            assert done.returncode == 0, done.stderr
            known[kind] = runs.fingerprint(folder / kind), time.monotonic() - begin
        return known[kind]

    return left_alone


def finish(kind, logdir, *argv):
    done = runs.command(*flags(kind), *argv, f"--logdir={logdir}")
    assert done.returncode == 0, done.stderr
    return done.stderr


def kill(process):
    """Kills the command and, where it leads a cluster, its workers."""
    pids = runs.family(process.pid)
    runs.kill(process)
    process.stdout.close()
    process.stderr.close()
    runs.wait_until_gone(pids)


def kill_when(kind, logdir, is_time, **how):
    process = runs.start(*flags(kind), f"--logdir={logdir}", **how)
    try:
        give_up = time.monotonic() + runs.SECONDS
        while process.poll() is None and not is_time():
            assert time.monotonic() < give_up
            time.sleep(0.0005)
        return process.poll() is None
    finally:
        kill(process)


@pytest.mark.parametrize(
    "kind",
    ["default", *marks.thorough("multiworker", "atari", "btr"), *marks.soak("mirrored")],
)
def test_run_killed_after_a_checkpoint_comes_to_the_same(kind, left_alone, tmp_path):
    expected, _ = left_alone(kind)
    first = 200 if kind == "atari" else 280
    assert kill_when(kind, tmp_path, lambda: manifest.numbers(tmp_path / "checkpoints") == [first])
    errors = finish(kind, tmp_path, "--checkpoint_period=240")  # when it is saved changes nothing
    assert f"resume: {tmp_path}/checkpoints/ckpt-" in errors
    found = runs.fingerprint(tmp_path)
    for parts in (found, expected := dict(expected)):
        del parts["checkpoints"]
    assert found == expected


@pytest.mark.thorough
def test_run_whose_images_are_on_a_device_is_killed_and_comes_to_what_one_on_the_host_does(left_alone, tmp_path):
    expected, _ = left_alone("atari")
    assert kill_when("atari", tmp_path, lambda: manifest.numbers(tmp_path / "checkpoints") == [200], program=ON_DEVICE)
    done = runs.command(*flags("atari"), f"--logdir={tmp_path}", program=ON_DEVICE)
    assert done.returncode == 0, done.stderr
    assert "GB on CPU:0, because --replay_device=auto" in done.stderr
    assert runs.fingerprint(tmp_path) == expected


MOMENTS = {
    "begun to save": lambda path: (path / "checkpoints" / "ckpt-560").exists(),
    "written the model": lambda path: (path / "checkpoints" / "ckpt-560" / "model.index").exists(),
    "committed": lambda path: (path / "checkpoints" / "ckpt-560" / "manifest.json").exists(),
    "saved for the last time": lambda path: (path / "checkpoints" / "ckpt-1200" / "manifest.json").exists(),
    "exported": lambda path: (path / "model" / "q_network.keras").exists(),
}


def _text(path):
    return path.read_text() if path.exists() else ""


@pytest.mark.thorough
@pytest.mark.parametrize("moment", [*MOMENTS][:1] + marks.soak(*[*MOMENTS][1:]))
def test_run_killed_when_it_has_just(moment, left_alone, tmp_path):
    expected, _ = left_alone("default")
    kill_when("default", tmp_path, lambda: MOMENTS[moment](tmp_path))
    finish("default", tmp_path)
    assert runs.fingerprint(tmp_path) == expected


@pytest.mark.thorough
@pytest.mark.parametrize(
    "kind",
    ["default", *marks.soak("multiworker", "atari", *MORE_KINDS)],
)
def test_run_killed_at_random_moments_comes_to_the_same(kind, left_alone, tmp_path, request):
    expected, seconds = left_alone(kind)
    generator, logdir, found = random.Random(kind), tmp_path / "0", []
    for kills in range(request.config.getoption("--kills")):
        process = runs.start(*flags(kind), f"--logdir={logdir}")
        try:
            time.sleep(seconds * generator.uniform(0.4, 1.1))  # it takes a third of the time to start
        finally:
            kill(process)
        if (logdir / "summary.json").exists():
            found.append(runs.fingerprint(logdir))
            logdir = tmp_path / str(kills + 1)
    finish(kind, logdir)
    assert [*found, runs.fingerprint(logdir)] == [expected] * (len(found) + 1)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "kind, number",
    [("default", signal.SIGINT), ("multiworker", signal.SIGTERM), *marks.soak(("atari", signal.SIGTERM))],
)
def test_run_asked_to_stop_between_checkpoints_saves_and_comes_to_the_same(kind, number, left_alone, tmp_path):
    expected, _ = left_alone(kind)
    process = runs.start(*flags(kind), f"--logdir={tmp_path}")
    give_up = time.monotonic() + runs.SECONDS
    while "train/loss" not in _text(tmp_path / "metrics.jsonl"):
        assert time.monotonic() < give_up and process.poll() is None
        time.sleep(0.001)
    process.send_signal(number)
    done = runs.finish(process)
    assert done.returncode == 128 + number, done.stderr
    assert "Traceback" not in done.stderr
    assert "saved; the same command resumes from there" in done.stderr
    finish(kind, tmp_path)
    found = runs.fingerprint(tmp_path)
    for parts in (found, expected := dict(expected)):
        del parts["checkpoints"]  # one more
    assert found == expected


@pytest.mark.thorough
def test_environment_of_one_of_two_workers_that_fails_costs_none_of_them_a_step(tmp_path):
    argv = [*flags("multiworker"), "--env=tests.environments:Frail-v0"]
    done = runs.command(*argv, f"--logdir={tmp_path / 'alone'}", FRAIL_STEP="0", FRAIL="none")
    assert done.returncode == 0, done.stderr
    frail = {"FRAIL_STEP": "251", "FRAIL": str(tmp_path / "failed")}  # of 600, in a round after the first updates
    done = runs.command(*argv, f"--logdir={tmp_path / 'run'}", **frail)
    assert done.returncode == 1 and "RuntimeError: the simulator has crashed" in done.stderr, done.stderr
    done = runs.command(*argv, f"--logdir={tmp_path / 'run'}", **frail)
    assert done.returncode == 0, done.stderr
    found, expected = runs.fingerprint(tmp_path / "run"), runs.fingerprint(tmp_path / "alone")
    for parts in (found, expected):
        del parts["checkpoints"]
    assert found == expected


@pytest.mark.thorough
def test_run_of_two_workers_goes_on_with_others(left_alone, tmp_path):
    assert kill_when("multiworker", tmp_path, lambda: manifest.numbers(tmp_path / "checkpoints") == [280, 560])
    held = {}
    for num_workers in (1, 4):
        root = tmp_path / "checkpoints"
        made = manifest.check(root, manifest.numbers(root)[-1])
        held[num_workers] = len(made.workers)
        length = made.env_steps + 280
        argv = [*flags("multiworker"), f"--num_workers={num_workers}", f"--train_env_steps={length}"]
        done = runs.command(*argv, f"--logdir={tmp_path}")
        assert done.returncode == 0, done.stderr
        assert f"resume: from {len(made.workers)} to {num_workers} workers" in done.stderr
    assert held == {1: 2, 4: 1}
    made = manifest.check(root, manifest.numbers(root)[-1])
    counts = [len(runs.transitions(root, worker)["a_tm1"]) for worker in made.workers]
    assert len(counts) == 4 and sum(counts) == min(made.env_steps, 1000)
