"""A sweep: trials of settings that Optuna chooses, each trained with several seeds, in a study that is kept on disk.

Source: Akiba et al. 2019, Optuna, arXiv:1907.10902.
"""

import contextlib
import dataclasses
import datetime
import hashlib
import json
import logging
import os
import pathlib
import re
import shutil
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import sqlalchemy

from dqn_tf.benchmark import child, commands
from dqn_tf.benchmark.child import RunFailed, RunStopped
from dqn_tf.benchmark.comparison import own_flags, problems_of_run
from dqn_tf.config import flags, schema, words
from dqn_tf.config.schema import ConfigError
from dqn_tf.process import gpus
from dqn_tf.sweep import locks
from dqn_tf.sweep.objective import PROCESS, SETTLED, Objective
from dqn_tf.sweep.scoring import METRICS
from dqn_tf.sweep.search_space import Dimension

_log = logging.getLogger(__name__)

_NAME = "sweep"
_DATABASE = "study.db"
_PROCESSES = "processes"
_YOUNG_SECONDS = 60.0  # a trial that does not say yet whose it is


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
        searched = [re.compile(rf"--{name}\b") for name in self.space]
        # Contradictions that a trial may undo.
        undone = [line for line in schema.check(config) if any(flag.search(line) for flag in searched)]
        given = flags.typed(["dqn-tf", *self.flags])
        own = own_flags([word for word in self.flags if words.name_of(word) != "env"])
        problems = [*own, *(line for line in problems if line not in undone)]
        problems += [f"--{name} is searched and given; leave one out." for name in self.space if name in given]
        problems += commands.problems_of_seeds(self.seeds)
        if self.metric not in METRICS:
            problems.append(f"metric={self.metric} must be one of {', '.join(METRICS)}.")
        if not self.space:
            problems.append("nothing is searched: give --search NAME=RANGE or --space=FILE; see --help.")
        if not config.evaluation.eval_period:
            problems.append("--eval_period=0: a sweep needs evaluations during a run; give a period.")
        if not problems:
            problems += [line for line in problems_of_run(self.flags) if line not in undone]
        if problems:
            raise ConfigError(*problems)

    def open(self) -> optuna.Study:
        """Returns the study in the directory, which is made if there is none. Raises ConfigError."""
        try:
            optuna.logging.set_verbosity(optuna.logging.CRITICAL)  # what fails is told here
            with locks.held(self.out / ".lock"):  # two commands may make the database at a time
                study = optuna.create_study(
                    storage=_storage(self.out),
                    study_name=_NAME,
                    direction="maximize",
                    load_if_exists=True,
                    sampler=_sampler(),
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
          RunStopped; RunFailed: several trials in a row have failed.
        """
        study = self.open()
        _retry_lost(study, self.out)
        presence = locks.Presence(self.out / _PROCESSES)
        try:
            self._optimize(study, parallel, stop, presence.name)
        finally:
            presence.end()
        if stop.is_set():
            raise RunStopped
        return study

    def _optimize(self, study, parallel, stop, process):
        slots = child.slots(parallel, gpus.visible_gpus(os.environ))
        left = self.num_trials - len(study.get_trials(deepcopy=False, states=SETTLED))
        if left > 0:
            _log.info("sweep: %d trials to make, %d at a time, in %s", left, len(slots), self.out)
            objective = Objective(self, child.free(slots), stop, process)
            enough = optuna.study.MaxTrialsCallback(self.num_trials, states=SETTLED)
            try:
                study.optimize(
                    objective,
                    n_trials=left,
                    n_jobs=min(len(slots), left),
                    callbacks=[enough, objective.tell],
                    catch=(RunStopped, RunFailed),
                )
            except BaseException:  # such as Ctrl-C in a notebook
                stop.set()
                raise
            if objective.failure:
                raise objective.failure

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
    url = sqlalchemy.URL.create("sqlite", database=str(out / _DATABASE))
    return optuna.storages.RDBStorage(
        url.render_as_string(hide_password=False), engine_kwargs={"connect_args": {"timeout": 60}}
    )


def _retry_lost(study, out):
    """Queues the settings of trials whose process was killed: their runs are resumed."""
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        process = trial.user_attrs.get(PROCESS)
        age = (datetime.datetime.now() - trial.datetime_start).total_seconds()
        if locks.is_present(out / _PROCESSES, process) if process else age < _YOUNG_SECONDS:
            continue
        with contextlib.suppress(ValueError, RuntimeError):  # another command has done it
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(trial.params)
