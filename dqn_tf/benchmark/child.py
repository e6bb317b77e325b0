"""One training run as a process of its own, on cores of its own; it is resumed where an earlier one was ended."""

import dataclasses
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dqn_tf.config import files
from dqn_tf.persistence import rows
from dqn_tf.process.exit_codes import EXIT_AGAIN

_POLL_SECONDS = 0.5
_MOST_STARTS = 4  # of a run that was ended from outside
_SAVE_SECONDS = 110.0


class RunFailed(Exception):
    """A run has ended without a result; the message, one line, says which and why."""


class RunStopped(Exception):
    """A run was asked to end, and was saved."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run has come to.

    Attributes:
      best: mean return of fresh greedy episodes of the best model.
      last: mean return of the last evaluation: of the last weights.
      curve: (env steps, mean return) of each evaluation.
      env_steps: length of the run.
      seconds: of the run, from its command to its end.
      threshold: return from which the environment counts as solved, None if it has no such thing.
      threshold_env_steps, threshold_seconds: until an evaluation reached it, None if none did.
    """

    best: float
    last: float
    curve: Sequence[tuple[int, float]]
    env_steps: int
    seconds: float
    threshold: float | None
    threshold_env_steps: int | None
    threshold_seconds: float | None


def evaluations(logdir: pathlib.Path) -> list[tuple[int, float]]:
    """Returns (env steps, mean return) of each evaluation so far, in their order."""
    found = {}  # of a run that was resumed, the later row counts
    for row in rows.read(logdir / rows.ROWS):
        if row.get("eval/return_mean") is not None:
            found[row["env_steps"]] = row["eval/return_mean"]
    return sorted(found.items())


def read(logdir: pathlib.Path) -> Result | None:
    """Returns the result of a run, None if it has not finished."""
    try:
        summary: Mapping[str, Any] = files.read_object(logdir / "summary.json")
        curve, last = evaluations(logdir), summary.get("last_eval_return_mean")
        return Result(
            best=float(summary["eval_return_mean"]),
            last=float(curve[-1][1] if last is None else last),
            curve=curve,
            env_steps=summary["env_steps"],
            seconds=summary["wall_seconds"],
            threshold=summary["threshold"],
            threshold_env_steps=summary["threshold_env_steps"],
            threshold_seconds=summary["threshold_seconds"],
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None


class Slot:
    """Cores, and a GPU if there are any, on which one run at a time is made."""

    def __init__(self, cores: Sequence[int], gpu: str | None):
        """The cores may be empty: then the system chooses."""
        self._cores, self._gpu = list(cores), gpu

    def run(
        self,
        logdir: pathlib.Path,
        flags: Sequence[str],
        stop: threading.Event,
        look: Callable[[], bool] = lambda: True,
    ) -> Result:
        """Makes a run to its end and returns its result; one that has finished is only read.

        Args:
          flags: of the run, without --logdir.
          stop: ends the run, saved, once it is set.
          look: called again and again during the run; once it returns False, the run is ended, too.
        Raises:
          RunFailed, RunStopped.
        """
        for _ in range(_MOST_STARTS):
            if found := read(logdir):
                return found
            code, is_asked = self._start(logdir, flags, stop, look)
            if is_asked:
                raise RunStopped
            if code == 0 and (found := read(logdir)):
                return found
            if code not in (EXIT_AGAIN, -signal.SIGKILL, 128 + signal.SIGKILL):
                break
        raise RunFailed(f"{logdir}: exit code {code}: {_last_line(_log_path(logdir))}")

    def _start(self, logdir, flags, stop, look):
        """Returns the exit code of the command, and whether it was asked to end."""
        logdir.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "DQN_TF_LAUNCHED": "1", "DQN_TF_PROGRESS": "lines"}
        environment |= {"CUDA_VISIBLE_DEVICES": self._gpu} if self._gpu is not None else {}
        command = [sys.executable, "-m", "dqn_tf", *flags, f"--logdir={logdir}"]
        before = self._confine(self._cores)  # this thread; its children inherit it
        try:
            with open(_log_path(logdir), "ab") as log:
                process = subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.PIPE,  # which ends with this process, and then so does the run
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for this process, which then asks its runs to save
                )
        finally:
            self._confine(before)
        try:
            return self._wait(process, stop, look)
        finally:
            process.stdin.close()
            process.kill()
            process.wait()

    def _wait(self, process, stop, look):
        while True:
            try:
                return process.wait(_POLL_SECONDS), False
            except subprocess.TimeoutExpired:
                if not stop.is_set() and look():
                    continue
            process.terminate()
            try:
                process.wait(_SAVE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            return process.wait(), True

    def _confine(self, cores):
        """Returns the cores of this thread before it was confined to others; on Linux only."""
        if not cores or not hasattr(os, "sched_setaffinity"):
            return []
        before = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores)
        return before


def free(slots: Sequence[Slot]) -> "queue.SimpleQueue[Slot]":
    """Returns a queue of slots: who makes a run takes one, and puts it back."""
    found: queue.SimpleQueue[Slot] = queue.SimpleQueue()
    for slot in slots:
        found.put(slot)
    return found


def slots(parallel: int, gpus: Sequence[str]) -> list[Slot]:
    """Returns a slot for each run at a time, which share the cores of this process and the GPUs.

    Args:
      parallel: how many; 0: one for each GPU or, without any, one for each core.
    """
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = sorted(os.sched_getaffinity(0)) if has_affinity else []
    count = parallel or len(gpus) or len(cores) or os.cpu_count() or 1
    shares = [cores[index::count] for index in range(count)] if len(cores) >= count else [[]] * count
    return [Slot(share, gpus[index % len(gpus)] if gpus else None) for index, share in enumerate(shares)]


def _log_path(logdir):
    return logdir.with_name(f"{logdir.name}.log")


def _last_line(path):
    """Returns the last line of a log that says something."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "no log"
    return next((line for line in reversed(lines) if line.strip()), "an empty log")
