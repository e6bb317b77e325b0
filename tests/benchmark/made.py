"""Runs of a benchmark that take no time: what a run would leave is written at once."""

import json
import pathlib
import signal

import numpy as np

from dqn_tf.benchmark import child


def summary(best, last, reached=None):
    """Returns what of summary.json a benchmark reads."""
    return {
        "eval_return_mean": best,
        "last_eval_return_mean": last,
        "env_steps": 300,
        "wall_seconds": 2.0,
        "threshold": 475.0,
        "threshold_env_steps": reached,
        "threshold_seconds": None if reached is None else reached / 100,
    }


class Runs:
    """Stands in for the processes of runs.

    Attributes:
      made: (logdir, flags) of each start.
      codes: exit codes of the next starts; 0 where there is none.
    """

    def __init__(self, monkeypatch):
        self.made, self.codes = [], []
        monkeypatch.setattr(child.Slot, "_start", self._start)

    def _start(self, logdir, flags, stop, look):
        self.made.append((logdir, list(flags)))
        code = self.codes.pop(0) if self.codes else 0
        logdir.mkdir(parents=True, exist_ok=True)
        seed = int(next(flag for flag in flags if flag.startswith("--seed=")).partition("=")[2])
        curve = [(100, 10.0 * seed), (200, 20.0 * seed), (300, 30.0 * seed)]
        rows = [{"env_steps": step, "eval/return_mean": value} for step, value in curve]
        (logdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        is_wanted = look()
        if code or not is_wanted:
            logdir.with_name(f"{logdir.name}.log").write_text("first\nthe reason\n\n")
            return code, not is_wanted or stop.is_set()
        (logdir / "config.json").write_text(json.dumps({"run": {"seed": seed}}))
        (logdir / "summary.json").write_text(json.dumps(summary(100.0 + seed, 90.0 + seed, 200 if seed else None)))
        return 0, False


KILLED = -signal.SIGKILL


def results(out):
    """Returns results.json."""
    return json.loads((pathlib.Path(out) / "results.json").read_text())


def interquartile_mean(values):
    """Returns the mean of the middle half, whose size is rounded up."""
    cut = int(0.25 * len(values))
    return float(np.mean(sorted(values)[cut : len(values) - cut]))
