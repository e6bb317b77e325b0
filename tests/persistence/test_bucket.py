"""Whole runs kept in a bucket, by TensorFlow's own gs:// file system against a local stand-in for Google's."""

import contextlib
import json
import re
import signal
import time

import pytest

from tests import marks, runs

gcs = pytest.importorskip("tests.gcs", reason="the bucket needs the extra [cloud]")


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where runs in buckets keep what they write
    with gcs.serve() as bucket:
        yield bucket


TWO = ["--strategy=multiworker", "--num_workers=2"]
KEEPS_ONE = [*TWO, "--checkpoints_to_keep=1", "--checkpoint_period=200"]


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory):
    """Returns a function that returns the directory of a run on a disk with these flags, which nothing happens to."""
    made = {}

    def on_disk(*flags):
        if flags not in made:
            made[flags] = tmp_path_factory.mktemp("on_disk") / "run"
            done = runs.command(*runs.SMALL, *flags, f"--logdir={made[flags]}")
            assert done.returncode == 0, done.stderr
        return made[flags]

    return on_disk


def start(bucket, *argv, **environment):
    return runs.start(*runs.SMALL, *argv, **bucket.environment, **environment)


def train(bucket, *argv, code=0, **environment):
    done = runs.finish(start(bucket, *argv, **environment))
    assert done.returncode == code, done.stderr
    return done


def download(bucket, prefix, path):
    """Copies the objects below `prefix` into a directory, and returns it."""
    for name in bucket.names(f"{prefix}/"):
        target = path / name.removeprefix(f"{prefix}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(bucket.read(name))
    return path


def assert_same(resumed, whole):
    parts = [runs.fingerprint(logdir) for logdir in (resumed, whole)]
    for part in parts:
        del part["checkpoints"]  # a run that is stopped has one more
    assert parts[0] == parts[1]


def wait_for(condition, process):
    limit = time.monotonic() + runs.SECONDS
    while not condition():
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.05)


@pytest.mark.thorough
def test_run_in_a_bucket_is_that_on_a_disk(bucket, tmp_path, on_disk):
    train(bucket, f"--logdir={bucket.url}/a/run")
    copy = download(bucket, "a/run", tmp_path / "copy")
    assert runs.fingerprint(copy) == runs.fingerprint(on_disk())
    local = {path.name for path in on_disk().iterdir() if not path.name.startswith("events.")}
    there = {path.name for path in copy.iterdir() if not path.name.startswith("events.")}
    assert there == local - {".lock"} | {".owner"}


@pytest.mark.thorough
def test_run_in_a_bucket_that_was_killed_goes_on_to_the_same_result(bucket, tmp_path, on_disk):
    process = start(bucket, f"--logdir={bucket.url}/run")
    wait_for(lambda: "run/checkpoints/ckpt-400/manifest.json" in bucket.names(), process)
    process.kill()
    runs.finish(process)
    (tmp_path / "elsewhere").mkdir()  # another machine goes on, which has none of what the first had on its disk
    resumed = train(bucket, f"--logdir={bucket.url}/run", TMPDIR=str(tmp_path / "elsewhere"))
    assert "resume:" in resumed.stderr
    assert_same(download(bucket, "run", tmp_path / "copy"), on_disk())


@pytest.mark.thorough
def test_two_workers_in_a_bucket_resume_where_neither_sees_the_others_disk(bucket, tmp_path, on_disk):
    process = start(bucket, *TWO, f"--logdir={bucket.url}/run")
    wait_for(lambda: "run/checkpoints/ckpt-400/manifest.json" in bucket.names(), process)
    process.send_signal(signal.SIGTERM)
    done = runs.finish(process)
    assert done.returncode == 143, done.stderr
    (tmp_path / "elsewhere").mkdir()
    resumed = train(bucket, *TWO, f"--logdir={bucket.url}/run", TMPDIR=str(tmp_path / "elsewhere"))
    assert f"resume: {bucket.url}/run/checkpoints/ckpt-" in resumed.stderr
    assert_same(download(bucket, "run", tmp_path / "copy"), on_disk(*TWO))


@pytest.mark.soak
def test_checkpoints_that_are_dropped_are_dropped_from_the_bucket_too(bucket, on_disk):
    train(bucket, *KEEPS_ONE, f"--logdir={bucket.url}/run")
    there = {name.removeprefix("run/") for name in bucket.names("run/checkpoints/")}
    disk = on_disk(*KEEPS_ONE)
    assert there == {path.relative_to(disk).as_posix() for path in disk.glob("checkpoints/**/*") if path.is_file()}


@pytest.mark.thorough
def test_bucket_that_refuses_a_checkpoint_is_a_warning_and_the_next_one_is_whole(bucket, tmp_path):
    bucket.fail(10_000, 503, match="upload.*ckpt-400")
    done = train(bucket, f"--logdir={bucket.url}/run")
    assert "checkpoint" in done.stderr and "ckpt-400 cannot be written" in done.stderr
    assert "run/checkpoints/ckpt-400/manifest.json" not in bucket.names()
    assert runs.checkpoints(download(bucket, "run", tmp_path / "copy")) == [800, 1200]


@pytest.mark.thorough
def test_damaged_checkpoint_in_a_bucket_is_named_and_the_one_before_taken(bucket, tmp_path):
    train(bucket, f"--logdir={bucket.url}/run", "--train_env_steps=800")
    bucket.write("run/checkpoints/ckpt-800/worker-0-of-1.npz", b"cut")
    done = train(bucket, f"--logdir={bucket.url}/run", "--train_env_steps=1600")
    assert "ckpt-800 is damaged" in done.stderr and "ckpt-400 at 400 env steps" in done.stderr
    assert json.loads(bucket.read("run/summary.json"))["env_steps"] == 1600
    assert json.loads(bucket.read("run/config.json"))["training"]["train_env_steps"] == 1600


@pytest.mark.thorough
def test_finished_run_in_a_bucket_says_so_is_evaluated_and_refused_with_other_settings(bucket):
    train(bucket, f"--logdir={bucket.url}/run")
    before = {name: bucket.read(name) for name in bucket.names() if not name.endswith(".owner")}
    done = train(bucket, f"--logdir={bucket.url}/run")
    assert f"finished: {bucket.url}/run holds all 1200 env steps" in done.stderr
    done = train(bucket, f"--logdir={bucket.url}/run", "--discount=0.5", code=2)
    assert done.stderr.splitlines()[-1] == (
        f"checkpoint {bucket.url}/run was trained with learning.discount=0.99, this run asks for 0.5; "
        "use a new --logdir or the old value."
    )
    argv = [f"--logdir={bucket.url}/run", "--episodes=2"]
    done = runs.finish(runs.start(*argv, program=("-m", "dqn_tf.evaluation"), **bucket.environment))
    assert json.loads(done.stdout)["eval_episodes"] == 2, done.stderr
    assert {name: bucket.read(name) for name in before} == before


@pytest.mark.thorough
def test_bucket_with_files_of_somebody_elses_is_refused_and_left(bucket):
    bucket.write("run/metrics.jsonl", b"mine")
    done = train(bucket, f"--logdir={bucket.url}/run", code=2)
    assert done.stderr.splitlines()[-1] == (
        f"--logdir={bucket.url}/run holds metrics.jsonl, which no run there has made; use a new --logdir."
    )
    assert bucket.names() == ["run/metrics.jsonl"] and bucket.read("run/metrics.jsonl") == b"mine"


@pytest.mark.thorough
def test_bucket_that_is_not_there_is_one_line(bucket):
    done = train(bucket, "--logdir=gs://another-bucket/run", code=2)
    assert done.stderr.splitlines()[-1] == (
        "gs://another-bucket/run cannot be used: there is no such bucket; use another place."
    )
    assert "Traceback" not in done.stderr


@pytest.mark.thorough
def test_run_whose_place_another_has_taken_leaves(bucket):
    process = start(bucket, f"--logdir={bucket.url}/run", "--train_env_steps=1000000")
    wait_for(lambda: "run/checkpoints/ckpt-400/manifest.json" in bucket.names(), process)
    bucket.write("run/.owner", b"another")
    done = runs.finish(process)
    assert done.returncode == 1
    assert f"{bucket.url}/run is being written by another process, which began later" in done.stderr


@pytest.mark.soak
def test_evaluator_of_a_run_in_a_bucket_ends_with_it(bucket, tmp_path):
    evaluator = start(bucket, f"--logdir={bucket.url}/run", "--task_type=evaluator")
    try:
        train(bucket, f"--logdir={bucket.url}/run", TMPDIR=str(tmp_path))
    finally:
        done = runs.finish(evaluator)
    assert done.returncode == 0, done.stderr
    row = json.loads(bucket.read("run/evaluator/metrics.jsonl").splitlines()[-1])
    own = [json.loads(line) for line in bucket.read("run/metrics.jsonl").splitlines()]
    assert row in own  # the same episodes with the same weights


@pytest.mark.thorough
@pytest.mark.parametrize("refused", ["POST .*newest", *marks.soak("DELETE")])
def test_bucket_that_refuses_part_of_a_commit_loses_nothing(bucket, tmp_path, on_disk, refused):
    process = start(bucket, *KEEPS_ONE, f"--logdir={bucket.url}/run")
    wait_for(lambda: "run/checkpoints/ckpt-400/manifest.json" in bucket.names(), process)
    bucket.fail(10_000, 503, match=refused)
    wait_for(lambda: any(re.search(refused, request) for request in bucket.requests), process)
    time.sleep(2)
    runs.kill(process)
    bucket.mend()
    (tmp_path / "elsewhere").mkdir()
    train(bucket, *KEEPS_ONE, f"--logdir={bucket.url}/run", TMPDIR=str(tmp_path / "elsewhere"))
    assert_same(download(bucket, "run", tmp_path / "copy"), on_disk(*KEEPS_ONE))


@pytest.mark.thorough
def test_second_command_that_is_refused_leaves_the_first_alone(bucket):
    process = start(bucket, f"--logdir={bucket.url}/run", "--train_env_steps=4000")
    wait_for(lambda: "run/checkpoints/ckpt-400/manifest.json" in bucket.names(), process)
    train(bucket, f"--logdir={bucket.url}/run", "--discount=0.5", code=2, TMPDIR="/var/tmp")
    done = runs.finish(process)
    assert done.returncode == 0, done.stderr


@pytest.mark.thorough
def test_bucket_that_does_not_answer_at_the_start_is_to_be_tried_again(bucket):
    bucket.fail(10_000, 503)
    done = train(bucket, f"--logdir={bucket.url}/run", code=143)
    assert "leaving with exit code 143: gs://bucket/run" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.thorough
def test_bucket_that_forbids_is_a_mistake(bucket):
    bucket.fail(10_000, 403)
    done = train(bucket, f"--logdir={bucket.url}/run", code=2)
    assert "use another place" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.soak
def test_run_whose_local_copy_is_removed_keeps_what_is_in_the_bucket(bucket, tmp_path):
    process = start(bucket, f"--logdir={bucket.url}/run", "--train_env_steps=6000", "--checkpoints_to_keep=50")
    wait_for(lambda: "run/checkpoints/ckpt-400/manifest.json" in bucket.names(), process)
    [local] = tmp_path.glob("dqn_tf-*")
    local.rename(tmp_path / "gone")  # at once: the run writes on
    done = runs.finish(process)
    assert done.returncode == 0, done.stderr
    assert "run/checkpoints/ckpt-400/manifest.json" in bucket.names()
    assert list(tmp_path.glob("dqn_tf-*/checkpoints")) == []  # what is kept elsewhere is not kept here


@pytest.mark.soak
def test_run_whose_objects_are_removed_puts_them_back(bucket):
    process = start(bucket, f"--logdir={bucket.url}/run", "--train_env_steps=4000")
    wait_for(lambda: "run/checkpoints/ckpt-400/manifest.json" in bucket.names(), process)
    for name in bucket.names("run/"):
        with contextlib.suppress(KeyError):
            bucket.delete(name)
    done = runs.finish(process)
    assert done.returncode == 0, done.stderr
    assert json.loads(bucket.read("run/summary.json"))["env_steps"] == 4000
