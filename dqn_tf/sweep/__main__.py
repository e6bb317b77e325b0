"""Searches settings by Optuna.

python -m dqn_tf.sweep --out=DIR --search learning_rate=log:1e-4:1e-2 n_step=1,3,5 [--trials=50] [flags of runs]
"""

import dataclasses
import functools
import sys
from collections.abc import Sequence

from dqn_tf.benchmark import commands
from dqn_tf.config import flags, settings, words
from dqn_tf.config.schema import ConfigError, field
from dqn_tf.process import console, startup
from dqn_tf.sweep.scoring import METRICS


@dataclasses.dataclass(frozen=True)
class _Options:
    out: str = field("", "directory of the study; the same command resumes what is there", unit="path")
    space: str = field("", "YAML or JSON file of what is searched, in place of --search: NAME: RANGE", unit="path")
    trials: int = field(50, "trials in the study, those of earlier commands included", minimum=1, unit="trials")
    seeds: str = field("0-2", "seeds of each trial: 0-2, or 0,1,5", unit="seeds")
    metric: str = field(
        "best",
        "what is maximized, a mean over seeds: return of the best model, of the last weights, or the mean of all "
        "evaluations, which says how fast it learns",
        choices=METRICS,
    )
    parallel: int = field(
        0, "trials at a time; 0: one for each GPU or, without any, each core", minimum=0, unit="trials"
    )


_OPTIONS = settings.of(_Options)
_HELP = """\
Searches settings by Optuna, with several seeds a trial, and writes DIR/best.json for --config, results.md and pictures:
python -m dqn_tf.sweep --out=DIR --search NAME=RANGE [NAME=RANGE ...] [options] [flags of all runs]
"""
_SEARCH = """\
  --search
      what is searched: learning_rate=log:1e-4:1e-2, discount=0.9:0.999, n_step=1,3,5, or, for values that have commas,
      "hidden_units=128,128;256,256"
"""


def _parse(argv):
    """Returns the Sweep of a command line, and how many trials at a time. Raises ConfigError."""
    from dqn_tf.sweep import search_space
    from dqn_tf.sweep.study import Sweep

    searched, rest = commands.taken_out(argv, "search", is_many=True)
    options, seeds, rest, problems = commands.options_of(_Options, _OPTIONS, rest)
    space = {}
    try:
        space = search_space.parse([*(search_space.read(options.space) if options.space else []), *searched])
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(*problems)
    sweep = Sweep(commands.directory_of(options.out), space, rest, seeds, options.metric, options.trials)
    sweep.check()
    return sweep, options.parallel


def _work(argv, stop):
    commands.check_installed("optuna", "sweep")
    sweep, parallel = _parse(argv)
    from dqn_tf.sweep import trial_table

    study = sweep.run(parallel, stop)
    console.print_result(trial_table.write(sweep, study))


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0 done, 2 the user's mistake, 1 a run failed, 128 + the number of a signal."""
    if flags.wants_help(["sweep", *argv]):
        lines = [line for option in _OPTIONS.values() for line in words.describe(option)]
        return console.print_result("\n".join([_HELP, _SEARCH, *lines]))
    return commands.run(functools.partial(_work, argv))


if __name__ == "__main__":
    startup.prepare()
    startup.use_utf8()
    console.set_up()
    sys.exit(main(sys.argv[1:]))
