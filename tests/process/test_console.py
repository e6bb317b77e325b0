"""What is written to stdout and stderr, where that can be, and where it cannot."""

import logging
import os
import subprocess
import sys
import threading

import pytest

from dqn_tf.process import console
from tests import runs

SECONDS = 60
# Writes in all ways that there are, and has a file open that a closed descriptor's number would fall to.
WRITES = """
import logging, os, warnings
from dqn_tf.process import console
console.set_up()
import tqdm
file = open("file", "w")
for descriptor in (1, 2):  # as native code does, which cares for no error
    console.write(descriptor, b"native\\n")
print("print" * 9999)
logging.getLogger("dqn_tf.any").info("log")
logging.getLogger("any").error("others' log")
warnings.warn("warning")
for _ in tqdm.tqdm(range(3), mininterval=0):
    logging.getLogger("dqn_tf.any").info("a line above the bar")
open("done", "w").write(str(os.fstat(0) and os.path.getsize("file")))
"""


def start(code, cwd, *redirections, **keywords):
    """Starts Python in a shell, which can close a descriptor."""
    words = ["sh", "-c", f'exec "$@" {" ".join(redirections)}', "sh", sys.executable, "-c", code]
    env = {**os.environ, "PYTHONPATH": str(runs.ROOT)}
    return subprocess.run(words, cwd=cwd, env=env, timeout=SECONDS, text=True, **keywords)


@pytest.fixture
def unread():
    """Returns a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize(
    "redirections",
    [["<&-", ">&-", "2>&-"], [">/dev/full", "2>/dev/full"], ["2>&-"], []],
    ids=["closed", "full disk", "stderr closed", "no reader"],
)
def test_process_whose_output_cannot_be_written_goes_on_and_writes_into_no_file(tmp_path, unread, redirections):
    done = start(WRITES, tmp_path, *redirections, stdout=unread, stderr=unread)
    assert done.returncode == 0
    assert (tmp_path / "done").read_text() == "0"


@pytest.mark.parametrize(
    "redirections, code, told",
    [([">/dev/full"], 1, "the result cannot be written to stdout: No space left on device\n"), ([], 0, "")],
    ids=["full disk", "no reader"],
)
def test_result_that_cannot_be_written_is_told_but_where_nobody_reads_it(tmp_path, unread, redirections, code, told):
    script = "import sys; from dqn_tf.process import console as c; c.keep_streams(); sys.exit(c.print_result('result'))"
    done = start(script, tmp_path, *redirections, stdout=unread, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (code, told)


def test_write_to_a_reader_that_is_slow_waits_for_it():
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    read = []
    thread = threading.Thread(target=lambda: read.extend(iter(lambda: os.read(reading, 4096), b"")))
    threading.Timer(0.2, thread.start).start()
    assert console.write(writing, b"x" * 10**6) is None
    os.close(writing)
    thread.join(SECONDS)
    os.close(reading)
    assert len(b"".join(read)) == 10**6


def test_log_has_one_line_for_each_record_whatever_is_in_it(capsys):
    handler = console._Handler()
    handler.setFormatter(console._Formatter())
    log = logging.Logger("any")
    log.addHandler(handler)
    log.warning("env %s", "a\nb\r\x1b[31m\x9b\u202e\x00é")
    assert capsys.readouterr().err == "env a\\nb\\r\\x1b[31m\\x9b\\u202e\\x00é\n"
