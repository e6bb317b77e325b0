"""dqn_tf.compare: how well settings learn, over environments and seeds. The command is `python -m dqn_tf.benchmark`."""

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from dqn_tf.benchmark import commands
from dqn_tf.benchmark.comparison import Comparison
from dqn_tf.config import settings as settings_lib
from dqn_tf.config import user_code
from dqn_tf.config.schema import ConfigError

_TEN = range(10)


def compare(
    out: str | os.PathLike,
    envs: Sequence[str],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    seeds: Sequence[int] = _TEN,
    parallel: int = 0,
    **values: Any,
) -> dict[str, Any]:
    """Trains every setting with every seed in every environment, each run in a process of its own.

    A second call with the same directory makes what is missing.

    Args:
      out: directory of the runs, results.json, results.md and a picture for each environment.
      envs: names of environments, as `dqn_tf.train` takes them.
      settings: values by the flags' names of each setting, by a name for it. None: one setting, the defaults.
      parallel: runs at a time; 0: as many as there are GPUs or, without any, cores.
      values: of all runs, by the flags' names.
    Returns:
      What is in results.json: `runs`, a row for each, and `aggregates`, the statistics over seeds.
    Raises:
      ConfigError: a mistake in the arguments.
      RunFailed: a run has failed; the others were made first.
    """
    given = {name: as_flags(one) for name, one in (settings or {"default": {}}).items()}
    from dqn_tf.benchmark import tables

    if isinstance(envs, str) or parallel < 0:
        raise ConfigError("envs must be a list of names, and parallel at least 0.")
    commands.check_installed("scipy", "benchmark")
    comparison = Comparison(commands.directory_of(out), list(envs), given, list(map(int, seeds)), as_flags(values))
    comparison.check()
    rows = comparison.run(parallel, threading.Event())
    tables.write(comparison, rows)
    return tables.tree(comparison, rows)


def as_flags(values: Mapping[str, Any]) -> list[str]:
    """Returns settings by name as words of a command line. Raises ConfigError: a value is no plain one."""
    for name, value in values.items():
        if callable(value) or hasattr(value, "get_weights"):
            why = "because runs are processes of their own"
            raise ConfigError(f"{name}={user_code.line(repr(value))[:80]} must be a name, module:{name}, {why}.")
    return [f"--{name}={settings_lib.to_text(value)}" for name, value in values.items() if value is not None]
