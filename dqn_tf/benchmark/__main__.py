"""Compares settings over environments and seeds.

python -m dqn_tf.benchmark --out=DIR [--envs=CartPole-v1,...] [--seeds=0-9] [--setting "NAME: FLAGS"]... [flags]
"""

import dataclasses
import functools
import shlex
import sys
from collections.abc import Sequence

from dqn_tf.benchmark import commands
from dqn_tf.benchmark.child import RunFailed
from dqn_tf.benchmark.comparison import Comparison
from dqn_tf.config import flags, settings, words
from dqn_tf.config.schema import ConfigError, field
from dqn_tf.process import console, startup


@dataclasses.dataclass(frozen=True)
class _Options:
    out: str = field("", "directory of all runs; the same command resumes what is there", unit="path")
    envs: str = field("CartPole-v1", "environments, as --env takes them, with commas between", unit="names")
    seeds: str = field("0-9", "seeds of each setting: 0-9, or 0,1,5", unit="seeds")
    parallel: int = field(0, "runs at a time; 0: one for each GPU or, without any, each core", minimum=0, unit="runs")


_OPTIONS = settings.of(_Options)
_HELP = """\
Trains every setting with every seed in every environment, side by side, and writes DIR/results.md, results.json, and
learning curves:
python -m dqn_tf.benchmark --out=DIR [options] [--setting "NAME: FLAGS"]... [flags of all runs]
"""
_SETTING = """\
  --setting
      a setting to compare, such as "double: --double_q=true --n_step=1"; may be given again. Without any, there is one,
      called default, with the flags of all runs
"""


def _parse(argv):
    """Returns the Comparison of a command line, and how many runs at a time. Raises ConfigError."""
    texts, rest = commands.taken_out(argv, "setting")
    options, seeds, rest, problems = commands.options_of(_Options, _OPTIONS, rest)
    given = {}
    for text in texts:
        name, separator, these = text.partition(":")
        name = name.strip()
        if not separator or name in given:
            why = "is given twice" if separator else 'must be "NAME: FLAGS"'
            problems.append(f"--setting {text} {why}.")
        try:
            given[name] = shlex.split(these)
        except ValueError as error:
            problems.append(f"--setting {text}: {error}.")
    if problems:
        raise ConfigError(*problems)
    envs = [env.strip() for env in options.envs.split(",")]
    comparison = Comparison(commands.directory_of(options.out), envs, given or {"default": []}, seeds, rest)
    comparison.check()
    return comparison, options.parallel


def _work(argv, stop):
    commands.check_installed("scipy", "benchmark")
    comparison, parallel = _parse(argv)
    from dqn_tf.benchmark import tables

    failure = None
    try:
        rows = comparison.run(parallel, stop)
    except RunFailed as error:
        failure, rows = error, comparison.rows()
    if rows:
        console.print_result(tables.write(comparison, rows))
    if failure:
        raise failure


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 0 done, 2 the user's mistake, 1 a run failed, 128 + the number of a signal."""
    if flags.wants_help(["benchmark", *argv]):
        lines = [line for option in _OPTIONS.values() for line in words.describe(option)]
        return console.print_result("\n".join([_HELP, *lines]) + "\n" + _SETTING)
    return commands.run(functools.partial(_work, argv))


if __name__ == "__main__":
    startup.prepare()
    startup.use_utf8()
    console.set_up()
    sys.exit(main(sys.argv[1:]))
