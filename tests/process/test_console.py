"""What is written to stdout and stderr, where that can be, and where it cannot."""

import logging
import os
import signal
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
    script = (
        "import sys; from dqn_tf.process import console;"
        "console.keep_streams(); sys.exit(console.print_result('result'))"
    )
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


STARTS = "from dqn_tf.process import console; console.set_up(); console.import_tensorflow()"
SAYS = """
import os, sys
os.write(2, b"I0000 Could not find cuda drivers on your machine, GPU will not be used.\\n")
os.write(2, b"F0000 Check failed: ")
print("said in Python", file=sys.stderr)
"""


@pytest.fixture
def with_tensorflow(tmp_path):
    """Returns a function that starts a TensorFlow which does what it is told, and returns the CompletedProcess."""

    def with_tensorflow(code):
        (tmp_path / "tensorflow.py").write_text(SAYS + code)
        return start(STARTS, tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    return with_tensorflow


def test_start_of_tensorflow_is_told_without_its_notes_on_gpus(with_tensorflow):
    done = with_tensorflow("class config: list_physical_devices = print")
    assert (done.returncode, done.stdout, done.stderr) == (0, "GPU\n", "F0000 Check failed: said in Python\n")


def test_crash_in_native_code_while_tensorflow_starts_is_told(with_tensorflow):
    done = with_tensorflow("os.write(2, b'why')\nos.abort()")
    assert done.returncode == -signal.SIGABRT
    assert done.stderr.startswith("F0000 Check failed: said in Python\nwhyFatal Python error: Aborted\n")
    assert "tensorflow.py" in done.stderr and "cuda" not in done.stderr


def test_start_of_tensorflow_that_hangs_has_told_all_so_far(with_tensorflow, tmp_path):
    (tmp_path / "told").touch()
    wait = "import time, pathlib\nwhile not pathlib.Path('told').read_text(): time.sleep(0.01)\nos._exit(0)"
    (tmp_path / "tensorflow.py").write_text(SAYS + wait)
    process = subprocess.Popen(
        [sys.executable, "-c", STARTS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(runs.ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr.readline() == "F0000 Check failed: said in Python\n"
        (tmp_path / "told").write_text("yes")
        assert process.wait(SECONDS) == 0
