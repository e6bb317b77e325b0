"""The bucket of tests/gcs.py behaves as TensorFlow expects of Google's."""

import json
import re

import pytest

from tests import runs

gcs = pytest.importorskip("tests.gcs", reason="the bucket needs the extra [cloud]")
pytestmark = pytest.mark.thorough

# Each line is one answer: what the expression on it is worth, or the name of the error it raises.
BEGIN = """
import json, sys
import tensorflow as tf

def write(path, content, mode="wb"):
    with tf.io.gfile.GFile(path, mode) as file:
        file.write(content)

def read(path, begin=0, size=-1):
    with tf.io.gfile.GFile(path, "rb") as file:
        file.seek(begin)
        return file.read(size)

def summaries(path):
    with tf.summary.create_file_writer(path).as_default() as writer:
        for step in range(3):
            tf.summary.scalar("x", step, step)
            writer.flush()
    writer.close()

def records(path):
    return sum(1 for _ in tf.data.TFRecordDataset(tf.io.gfile.glob(path + "/*")))

def steps(path):
    from tensorboard.backend.event_processing import event_file_loader
    return [event.step for event in event_file_loader.EventFileLoader(tf.io.gfile.glob(path + "/*")[0]).Load()]

for line in sys.argv[1:]:
    try:
        found = eval(line, {**globals(), **vars(tf.io.gfile), "b": "gs://bucket/"})
    except tf.errors.OpError as error:
        found = type(error).__name__
    print("answer", json.dumps(found.decode("latin-1") if isinstance(found, bytes) else found))
"""
BIG = 20 * 2**20


def answers(bucket, *lines):
    """Returns what a child process answers to each line."""
    done = runs.finish(runs.start(*lines, program=("-c", BEGIN), **bucket.environment))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in re.findall("(?m)^answer (.*)", done.stdout)]


@pytest.fixture
def bucket():
    with gcs.serve() as served:
        yield served


def test_bucket_does_what_tensorflow_asks_of_a_file_system(bucket):
    table = [
        ("write(b + 'a/x', b'hello')", None),
        ("read(b + 'a/x')", "hello"),
        ("write(b + 'a/x', b' world', 'ab')", None),
        ("read(b + 'a/x', 6, 3)", "wor"),
        ("stat(b + 'a/x').length", 11),
        ("write(b + 'a/empty', b'')", None),
        ("read(b + 'a/empty')", ""),
        ("[exists(b + name) for name in ('a/x', 'a', 'a/y')]", [True, True, False]),
        ("[isdir(b + name) for name in ('a/x', 'a', 'a/y')]", [False, True, False]),
        ("exists('gs://other/x')", False),
        ("read(b + 'a/y')", "NotFoundError"),
        ("remove(b + 'a/y')", "NotFoundError"),
        ("listdir(b + 'none')", "NotFoundError"),
        ("makedirs(b + 'd/e')", None),
        ("isdir(b + 'd/e')", True),
        ("write(b + 'd/e/1 \u00fc', b'1')", None),
        ("listdir(b + 'd')", ["e/"]),
        ("listdir(b + 'd/e')", ["1 \u00fc"]),
        ("glob(b + '*/e/1*')", ["gs://bucket/d/e/1 \u00fc"]),
        ("list(walk(b + 'd'))[1]", ["gs://bucket/d/e/", [], ["1 \u00fc"]]),
        ("copy(b + 'a/x', b + 'a/copy')", None),
        ("copy(b + 'a/x', b + 'a/copy')", "AlreadyExistsError"),
        ("rename(b + 'a/copy', b + 'a/empty', overwrite=True)", None),
        ("read(b + 'a/empty')", "hello world"),
        ("rename(b + 'd', b + 'moved')", None),
        ("read(b + 'moved/e/1 \u00fc')", "1"),
        ("remove(b + 'a/x')", None),
        ("rmtree(b + 'moved')", None),
        ("listdir(b)", ["a/"]),
        (f"write(b + 'big', bytes({BIG // 256}) * 256)", None),
        (f"write(b + 'big', bytes(range(256)) * {BIG // 256})", None),
        (f"read(b + 'big') == bytes(range(256)) * {BIG // 256}", True),
        ("read(b + 'big', 10000200, 4)", "HIJK"),  # 10000200 = 256 * 39063 + 72
        ("summaries(b + 'events')", None),
        ("records(b + 'events')", 4),
        ("steps(b + 'events')", [0, 0, 1, 2]),
    ]
    assert list(zip((line for line, _ in table), answers(bucket, *(line for line, _ in table)), strict=True)) == table
    assert bucket.names()[:2] == ["a/empty", "big"]
    assert bucket.read("a/empty") == b"hello world"


def test_bucket_that_fails_or_is_cut_is_an_error_after_tensorflow_has_tried_again(bucket):
    for name in ("often", "seldom", "forbidden", "half"):
        bucket.write(name, name.encode())
    bucket.fail(2, match="seldom")
    bucket.fail(1000, match="often")
    bucket.fail(1000, 403, match="forbidden")
    bucket.fail(1000, match="^PUT .*half")
    lines = [f"read(b + {name!r})" for name in ("seldom", "often", "forbidden")]
    assert answers(bucket, *lines, "write(b + 'half', b'')", "read(b + 'half')") == [
        "seldom",
        "AbortedError",
        "PermissionDeniedError",
        "AbortedError",
        "half",
    ]
    bucket.cut()
    requests = len(bucket.requests)
    assert answers(bucket, "read(b + 'seldom')", "write(b + 'x', b'')") == ["AbortedError", "AbortedError"]
    assert (bucket.names(), len(bucket.requests)) == (["forbidden", "half", "often", "seldom"], requests)


def test_bucket_that_is_mended_shows_what_the_test_has_written_and_deleted(bucket):
    bucket.cut()
    bucket.fail(1000)
    bucket.mend()
    bucket.write("a/x", b"hello")
    bucket.write("a/y", b"")
    bucket.delete("a/y")
    assert answers(bucket, "read(b + 'a/x')", "listdir(b + 'a')") == ["hello", ["x"]]
    with pytest.raises(KeyError):
        bucket.read("a/y")
