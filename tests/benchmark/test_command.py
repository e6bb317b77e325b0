"""The command itself: its runs are saved when it is asked to stop, gone when it is killed, and resumed."""

import contextlib
import os
import pathlib
import signal
import time

import pytest

from tests import marks, runs
from tests.benchmark import made

MODULE = ["-m", "dqn_tf.benchmark"]
LONG = [flag for flag in runs.SMALL if not flag.startswith(("--train_env", "--checkpoint", "--log"))]
LONG += ["--train_env_steps=60000", "--eval_period=20000", "--checkpoint_period=400", "--log_period=400"]


def start(out, *argv):
    return runs.start(f"--out={out}", "--parallel=1", *LONG, *argv, program=MODULE)


def wait_for_checkpoint(process, out):
    """Returns the process ids of the command's runs once one has a checkpoint."""
    give_up = time.monotonic() + runs.SECONDS
    while not runs.checkpoints(out / "CartPole-v1" / "default" / "0"):
        assert process.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.1)
    tasks = pathlib.Path(f"/proc/{process.pid}/task").iterdir()  # each child belongs to the thread that started it
    found = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    assert found
    return found


@pytest.mark.skipif(not pathlib.Path("/proc/self/task").exists(), reason="reads /proc")
@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), *marks.thorough((signal.SIGKILL, -9))])
def test_command_that_is_ended_leaves_no_run_and_goes_on_with_them(number, code, tmp_path):
    process = start(tmp_path, "--seeds=0,1")
    try:
        children = wait_for_checkpoint(process, tmp_path)
        os.kill(process.pid, number)
        process.wait(runs.SECONDS)
        assert process.returncode == code
        runs.wait_until_gone(children)
    finally:
        stdout, stderr = process.communicate(timeout=runs.SECONDS)
        runs.kill(process)
    if number != signal.SIGKILL:
        assert "stopped, saved; the same command goes on from there" in stderr
    before = runs.checkpoints(tmp_path / "CartPole-v1" / "default" / "0")[-1]
    again = start(tmp_path, "--seeds=0")
    try:
        log = tmp_path / "CartPole-v1" / "default" / "0.log"
        give_up = time.monotonic() + runs.SECONDS
        while "resume: " not in log.read_text():
            assert again.poll() is None and time.monotonic() < give_up
            time.sleep(0.1)
        assert f"ckpt-{before}" in log.read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            again.terminate()
        again.communicate(timeout=runs.SECONDS)
        runs.kill(again)


def test_command_makes_runs_side_by_side_and_prints_the_table(tmp_path):
    argv = [*runs.SMALL, "--seeds=0-1", "--setting", "one: --n_step=1"]
    process = runs.finish(runs.start(f"--out={tmp_path}", *argv, program=MODULE))
    assert process.returncode == 0, process.stderr
    assert "| CartPole-v1 | one | 2 | " in process.stdout
    assert "run 2 of 2 ended: CartPole-v1, one, seed" in process.stderr
    [cell] = made.results(tmp_path)["aggregates"]
    for seed, row in zip((0, 1), made.results(tmp_path)["runs"], strict=True):
        summary = runs.read_json(tmp_path / "CartPole-v1" / "one" / str(seed) / "summary.json")
        assert (row["seed"], row["result"]["best"]) == (seed, summary["eval_return_mean"])
        assert [step for step, _ in row["result"]["curve"]] == [400, 800, 1200]
    assert cell["env"] == "CartPole-v1" and cell["seeds"] == [0, 1]
