"""A sweep: trials of settings that Optuna chooses, each trained with several seeds, in a study that is kept on disk.

Source: Akiba et al. 2019, Optuna, arXiv:1907.10902.
"""

import dataclasses
import hashlib
import itertools
import json
import logging
import os
import pathlib
import queue
import shutil
import statistics
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from dqn_tf.benchmark import child
from dqn_tf.benchmark.child import Result, RunFailed, RunStopped
from dqn_tf.config import flags, schema, settings
from dqn_tf.config.schema import ConfigError
from dqn_tf.environment.factory import Factory
from dqn_tf.process import gpus
from dqn_tf.sweep.search_space import Dimension

_log = logging.getLogger(__name__)

METRICS = ("best", "last", "mean")
_NAME = "sweep"
_DATABASE = "study.db"
_HEARTBEAT_SECONDS, _GRACE_SECONDS = 10, 30  # a trial that is silent for so long was killed, and is tried again
_SETTLED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What is searched.

    Attributes:
      out: directory of the study and of all runs.
      space: what is searched, by flag.
      flags: of all runs.
      seeds: of each trial.
      metric: what is maximized, a mean over seeds. best: return of the best model; last: of the last weights; mean: of
        all evaluations, which says how fast it learns.
      num_trials: in the study, those of earlier commands included.
    """

    out: pathlib.Path
    space: Mapping[str, Dimension]
    flags: Sequence[str]
    seeds: Sequence[int]
    metric: str
    num_trials: int

    def check(self) -> None:
        """Raises ConfigError with every mistake that can be known before the first run."""
        config, problems = flags.parse(["dqn-tf", *self.flags], has_gpu=bool(gpus.visible_gpus(os.environ)))
        searched = [f"--{name}" for name in self.space]
        undone = [line for line in schema.check(config) if any(flag in line for flag in searched)]
        problems = [line for line in problems if line not in undone]  # contradictions that a trial may undo
        given = flags.typed(["dqn-tf", *self.flags])
        problems += [f"--{name} is searched and given; leave one out." for name in self.space if name in given]
        twice = {seed for number, seed in enumerate(self.seeds) if seed in self.seeds[:number]}
        problems += [f"seed {seed} is given twice; leave one out." for seed in sorted(twice)]
        if not self.space:
            problems.append("nothing is searched: give --search NAME=RANGE or --space=FILE; see --help.")
        if not config.evaluation.eval_period:
            problems.append("--eval_period=0: a sweep needs evaluations during a run; give a period.")
        if not problems:
            try:
                Factory.of(config).describe()
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(*problems)

    def open(self) -> optuna.Study:
        """Returns the study in the directory, which is made if there is none. Raises ConfigError."""
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            optuna.logging.set_verbosity(optuna.logging.WARNING)
            study = optuna.create_study(
                storage=_storage(self.out),
                study_name=_NAME,
                direction="maximize",
                load_if_exists=True,
                sampler=_sampler(),
                pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2),
            )
            asked = {
                "search": {name: one.text for name, one in self.space.items()},
                "flags": list(self.flags),
                "seeds": list(self.seeds),
                "metric": self.metric,
            }
            for name, value in asked.items():
                before = study.user_attrs.get(name, value)
                if before != value:
                    what = f"a sweep with other {name}: {_shown(before)}"
                    raise ConfigError(f"--out={self.out} holds {what}; use a new --out.")
            for name, value in asked.items():
                study.set_user_attr(name, value)
            return study
        except ConfigError:
            raise
        except Exception as error:  # of the file system or the database
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"--out={self.out} cannot be used: {type(error).__name__}: {reason}") from None

    def run(self, parallel: int, stop: threading.Event) -> optuna.Study:
        """Makes trials until there are `num_trials`, and returns the study.

        Args:
          parallel: runs at a time; 0: as many as there are GPUs or, without any, cores.
          stop: ends all runs, saved, once it is set.
        Raises:
          RunStopped, RunFailed: of the first trial that fails; a trial that contradicts itself is only passed over.
        """
        study = self.open()
        slots = child.slots(parallel, gpus.visible_gpus(os.environ))
        free: queue.SimpleQueue[child.Slot] = queue.SimpleQueue()
        for slot in slots:
            free.put(slot)
        left = self.num_trials - len(study.get_trials(deepcopy=False, states=_SETTLED))
        if left > 0:
            _log.info("sweep: %d trials to make, %d at a time, in %s", left, len(slots), self.out)
            objective = _Objective(self, free, stop)
            enough = optuna.study.MaxTrialsCallback(self.num_trials, states=_SETTLED)
            study.optimize(
                objective, n_trials=left, n_jobs=min(len(slots), left), callbacks=[enough, objective.tell],
                catch=(RunStopped, RunFailed),
            )
            if objective.failure:
                raise objective.failure
        if stop.is_set():
            raise RunStopped
        return study

    def logdir(self, params: Mapping[str, Any]) -> pathlib.Path:
        """Returns the directory of the runs of a trial: equal settings are run once."""
        text = json.dumps(params, sort_keys=True)
        return self.out / "trials" / hashlib.sha256(text.encode()).hexdigest()[:12]

    def write_best(self, study: optuna.Study) -> pathlib.Path:
        """Writes best.json, the settings of the best trial for `--config`, and returns its path."""
        best = self.out / "best.json"
        shutil.copyfile(self.logdir(study.best_trial.params) / str(self.seeds[0]) / "config.json", best)
        return best


def _shown(value):
    return json.dumps(value)[:200]


def _sampler():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(multivariate=True, constant_liar=True)


def _storage(out):
    """Returns the database of a study, in which a trial whose process was killed is noticed and tried again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.storages.RDBStorage(
            f"sqlite:///{out / _DATABASE}",
            engine_kwargs={"connect_args": {"timeout": 60}},
            heartbeat_interval=_HEARTBEAT_SECONDS,
            grace_period=_GRACE_SECONDS,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(),
        )


def score(result: Result, metric: str) -> float:
    """Returns what is maximized of one run."""
    if metric == "mean":
        return statistics.mean(value for _, value in result.curve)
    return result.best if metric == "best" else result.last


class _Objective:
    """Runs a trial: its seeds one after the other on one slot. Called in threads.

    Attributes:
      failure: of a run that ended without a result, None if there was none.
    """

    def __init__(self, sweep, free, stop):
        self._sweep, self._free, self._stop = sweep, free, stop
        self.failure: RunFailed | None = None

    def __call__(self, trial):
        sweep = self._sweep
        params = {name: one.suggest(trial) for name, one in sweep.space.items()}
        given = [*sweep.flags, *(f"--{name}={settings.to_text(value)}" for name, value in params.items())]
        _, problems = flags.parse(["dqn-tf", *given])
        if problems:
            _log.info("trial %d: passed over: %s", trial.number, problems[0])
            raise optuna.TrialPruned
        slot, done = self._free.get(), []
        try:
            for number, seed in enumerate(sweep.seeds):
                reports = _Reports(trial, sweep, sweep.logdir(params) / str(seed), number, done)
                try:
                    result = slot.run(reports.logdir, [*given, f"--seed={seed}"], self._stop, reports.look)
                except RunStopped:
                    if self._stop.is_set():
                        raise
                    raise optuna.TrialPruned from None
                done.append(score(result, sweep.metric))
            from dqn_tf.sweep import hparams

            hparams.write(sweep.logdir(params), params, sweep.metric, statistics.mean(done), sweep.space)
            return statistics.mean(done)
        except RunStopped:
            trial.study.enqueue_trial(params, user_attrs=trial.user_attrs)  # the next command goes on with it
            trial.study.stop()
            raise
        except RunFailed as error:
            self.failure = self.failure or error
            trial.study.stop()
            raise
        finally:
            self._free.put(slot)

    def tell(self, study, trial):
        """Logs the end of a trial."""
        values = " ".join(f"{name}={_number(value)}" for name, value in trial.params.items())
        if trial.state == optuna.trial.TrialState.COMPLETE:
            count = len(study.get_trials(deepcopy=False, states=_SETTLED))
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
        if next(self._looks) % 10:
            return True
        curve = child.evaluations(self.logdir)
        for index in range(self._count, len(curve)):
            values = [value for _, value in curve[: index + 1]]
            so_far = {"best": max(values), "last": values[-1], "mean": statistics.mean(values)}[self._metric]
            self._trial.report(statistics.mean([*self._done, so_far]), self._first + index)
            self._is_pruned = self._is_pruned or self._trial.should_prune()
        self._count = len(curve)
        return not self._is_pruned


def _number(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)
