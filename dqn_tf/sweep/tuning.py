"""dqn_tf.tune: searches settings by Optuna. The command is `python -m dqn_tf.sweep`."""

import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dqn_tf.benchmark import commands
from dqn_tf.benchmark.comparing import as_flags

if TYPE_CHECKING:
    import optuna


def tune(
    out: str | os.PathLike,
    search: Mapping[str, str],
    *,
    trials: int = 50,
    seeds: Sequence[int] = (0, 1, 2),
    metric: str = "best",
    parallel: int = 0,
    **values: Any,
) -> "optuna.Study":
    """Makes a sweep, or goes on with the one in `out`, and returns its Optuna study, with which all of Optuna works.

    Args:
      out: directory of the study, of all runs, and of best.json, which `dqn_tf.train` takes by `config`.
      search: what is searched by the flags' names: {"learning_rate": "log:1e-4:1e-2", "n_step": "1,3,5"}.
      trials: in the study, those of earlier calls included.
      seeds: of each trial.
      metric: what is maximized, a mean over seeds: the return of the "best" model, of the "last" weights, or the
        "mean" of all evaluations.
      parallel: trials at a time; 0: as many as there are GPUs or, without any, cores.
      values: of all runs, by the flags' names.
    Raises:
      ConfigError: a mistake in the arguments.
      RunFailed: a run has failed.
    """
    from dqn_tf.sweep import search_space, trial_table
    from dqn_tf.sweep.study import Sweep

    space = search_space.parse([f"{name}={text}" for name, text in search.items()])
    sweep = Sweep(commands.directory_of(out), space, as_flags(values), list(map(int, seeds)), metric, trials)
    sweep.check()
    study = sweep.run(parallel, threading.Event())
    trial_table.write(sweep, study)
    return study
