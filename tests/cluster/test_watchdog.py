import os
import signal
import subprocess
import sys
import time

import pytest

from tests import runs

WATCHED = """
import pathlib, time
from dqn_tf.cluster import watchdog
watchdog.Watchdog(1.0, pathlib.Path("none")).__enter__()
print(flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs POSIX signals")
def test_watchdog_of_a_process_that_was_stopped_and_continued_counts_the_time_that_it_ran():
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHED], env={**os.environ, "PYTHONPATH": str(runs.ROOT)}, stdout=subprocess.PIPE
    )
    with process:
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.3)
        assert process.poll() is None
        assert process.wait(runs.SECONDS) == 143
