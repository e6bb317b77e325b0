"""One trial of a sweep: its seeds one after the other, pruned if its evaluations are below the median."""

import itertools
import logging
import math
import queue
import statistics
import threading
from typing import Any

import optuna

from dqn_tf.benchmark import child
from dqn_tf.benchmark.child import RunFailed, RunStopped
from dqn_tf.config import flags, settings
from dqn_tf.sweep import locks, scoring, search_space

_log = logging.getLogger(__name__)

PROCESS = "process"  # of a trial: the Presence of the process that makes it
SETTLED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
_MOST_FAILURES = 3  # in a row, after which it is not the settings' fault
_FIRST_TRIALS, _FIRST_EVALUATIONS = 5, 2  # which are not pruned


class Objective:
    """Runs a trial: its seeds one after the other on one slot. Called in threads.

    Attributes:
      failure: of a run that ended without a result, None if there was none.
    """

    def __init__(self, sweep: Any, free: queue.SimpleQueue, stop: threading.Event, process: str):
        """Makes trials of a study.Sweep.

        Args:
          free: slots that are not in use.
          stop: ends the runs, saved, once it is set.
          process: see PROCESS.
        """
        self._sweep, self._free, self._stop, self._process = sweep, free, stop, process
        self._num_failures = 0  # in a row
        self.failure: RunFailed | None = None

    def __call__(self, trial: optuna.Trial) -> float:
        """Returns what is maximized."""
        sweep = self._sweep
        trial.set_user_attr(PROCESS, self._process)
        params = {name: one.suggest(trial) for name, one in sweep.space.items()}
        given = [*sweep.flags, *(f"--{name}={settings.to_text(value)}" for name, value in params.items())]
        _, problems = flags.parse(["dqn-tf", *given])
        if problems:
            _log.info("trial %d: passed over: %s", trial.number, problems[0])
            raise optuna.TrialPruned
        slot = self._free.get()
        try:
            with locks.held(sweep.logdir(params) / ".lock", self._stop):  # equal settings may be tried at a time
                value = self._value(trial, slot, params, given)
            self._num_failures = 0
            return value
        except RunStopped:
            trial.study.enqueue_trial(params)  # the next command goes on with it
            trial.study.stop()
            raise
        except (RunFailed, OSError) as error:
            self._num_failures += 1
            _log.warning("trial %d has failed: %s", trial.number, error)
            if self._num_failures < _MOST_FAILURES:  # it may have diverged
                raise optuna.TrialPruned from None
            self.failure = RunFailed(f"{self._num_failures} trials in a row have failed, the last one: {error}")
            trial.study.stop()
            raise self.failure from None
        finally:
            self._free.put(slot)

    def _value(self, trial, slot, params, given):
        """Returns what is maximized. Raises TrialPruned."""
        sweep, done = self._sweep, []
        for number, seed in enumerate(sweep.seeds):
            reports = _Reports(trial, sweep, sweep.logdir(params) / str(seed), number, done)
            try:
                result = slot.run(reports.logdir, [*given, f"--seed={seed}"], self._stop, reports.look)
            except RunStopped:
                if self._stop.is_set():
                    raise
                raise optuna.TrialPruned from None
            reports.read()  # those since the last look
            done.append(scoring.score(result, sweep.metric))
        value = statistics.mean(done)
        if not math.isfinite(value):
            raise RunFailed(f"{sweep.logdir(params)}: a return of {value}")
        from dqn_tf.sweep import hparams

        hparams.write(sweep.logdir(params), params, sweep.metric, value, sweep.space)
        return value

    def tell(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        """Logs the end of a trial."""
        values = " ".join(f"{name}={search_space.shown(value)}" for name, value in trial.params.items())
        if trial.state == optuna.trial.TrialState.COMPLETE:
            count = len(study.get_trials(deepcopy=False, states=SETTLED))
            best = f"; best so far {study.best_value:.4g}"
            where = trial.number, count, self._sweep.num_trials
            _log.info("trial %d (%d of %d): %.4g with %s%s", *where, trial.value, values, best)
        elif trial.state == optuna.trial.TrialState.PRUNED and trial.intermediate_values:
            _log.info("trial %d: pruned with %s", trial.number, values)


class _Reports:
    """Tells Optuna of the evaluations of a run as they come."""

    def __init__(self, trial, sweep, logdir, number, done):
        """Prepares for the seed of this number; `done` has the scores of those before."""
        config, _ = flags.parse(["dqn-tf", *sweep.flags])
        period = config.evaluation.eval_period
        self._first = number * (config.training.train_env_steps // period + 2)
        self._trial, self._metric, self._done, self.logdir = trial, sweep.metric, list(done), logdir
        self._count, self._is_pruned = 0, False
        self._looks = itertools.count()

    def look(self):
        """Returns whether the run shall go on. Reads its rows at every tenth call."""
        if next(self._looks) % 10 == 0:
            self.read()
        return not self._is_pruned

    def read(self):
        """Reports the evaluations that are new."""
        curve = child.evaluations(self.logdir)
        for index in range(self._count, len(curve)):
            values = [value for _, value in curve[: index + 1]]
            so_far = {"best": max(values), "last": values[-1], "mean": statistics.mean(values)}[self._metric]
            self._report(statistics.mean([*self._done, so_far]), self._first + index)
        self._count = len(curve)

    def _report(self, value, step):
        """Reports a value, and finds out whether it is below the median of the other trials' at this step.

        Optuna's MedianPruner compares the largest value so far, which an earlier seed of this trial may have reached.
        """
        self._trial.report(value, step)
        others = [
            other.intermediate_values[step]
            for other in self._trial.study.get_trials(deepcopy=False, states=SETTLED)
            if step in other.intermediate_values
        ]
        if step >= _FIRST_EVALUATIONS and len(others) >= _FIRST_TRIALS:
            self._is_pruned = self._is_pruned or value < statistics.median(others)
