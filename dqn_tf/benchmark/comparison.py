"""A comparison: environments x settings x seeds, one training run each, in one directory, side by side on the cores."""

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import itertools
import logging
import os
import pathlib
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

from dqn_tf.benchmark import child, commands
from dqn_tf.benchmark.child import Result, RunFailed, RunStopped
from dqn_tf.benchmark.meter import Meter
from dqn_tf.config import files, flags, words
from dqn_tf.config.schema import Config, ConfigError
from dqn_tf.persistence import archive, run_directory
from dqn_tf.persistence.run_directory import RunDirectory
from dqn_tf.process import gpus
from dqn_tf.training import plan

_log = logging.getLogger(__name__)

_PLAN = "comparison.json"
# What a run of many may not be given, because each has its own, or because it would wait for others.
OWN_FLAGS = ("env", "seed", "logdir", "resume", "model_dir", "tensorboard_dir", "task_type", "task_index", "tf_config")
OWN_FLAGS += ("evaluated_by", "flagfile")
_NAME = re.compile(r"\w[\w .+-]*")


@dataclasses.dataclass(frozen=True)
class Row:
    """A run that has finished."""

    env: str
    setting: str
    seed: int
    result: Result


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What is compared.

    Attributes:
      out: directory of everything.
      envs: names of environments, as --env takes them.
      settings: flags of each setting, by its name.
      seeds: of each.
      flags: of all runs.
    """

    out: pathlib.Path
    envs: Sequence[str]
    settings: Mapping[str, Sequence[str]]
    seeds: Sequence[int]
    flags: Sequence[str] = ()

    def check(self) -> None:
        """Raises ConfigError with every mistake that can be known before the first run."""
        problems = commands.problems_of_seeds(self.seeds)
        problems += [] if self.envs else ["no environment is given."]
        twice = dict.fromkeys(env for number, env in enumerate(self.envs) if env in self.envs[:number])
        problems += [f"environment {env} is given twice; leave one out." for env in twice]
        for name in self.settings:
            if not _NAME.fullmatch(name):
                problems.append(f"setting {name!r}: a name has letters, digits, spaces and . + - _ only.")
        for given in (self.flags, *self.settings.values()):
            problems += own_flags(given)
        if problems:
            raise ConfigError(*problems)
        self._check_same()
        for env, name in itertools.product(self.envs, self.settings):
            given = [f"--env={env}", *self.flags, *self.settings[name]]
            problems += [line for line in problems_of_run(given) if line not in problems]
        if problems:
            raise ConfigError(*problems)

    def config(self, env: str, setting: str) -> tuple[Config, list[str]]:
        """Returns the Config of a setting's runs in an environment, and a line for each mistake in it."""
        given = [f"--env={env}", *self.flags, *self.settings[setting]]
        return flags.parse(["dqn-tf", *given], has_gpu=bool(gpus.visible_gpus(os.environ)))

    def logdir(self, env: str, setting: str, seed: int) -> pathlib.Path:
        """Returns the directory of a run."""
        return self.out / place_of(env) / _place(setting) / str(seed)

    @property
    def cells(self) -> list[tuple[str, str, int]]:
        """All runs: environment, setting and seed. The first seed of everything comes first."""
        return [(env, name, seed) for seed in self.seeds for env in self.envs for name in self.settings]

    def rows(self) -> list[Row]:
        """Returns the runs that have finished."""
        found = ((*cell, child.read(self.logdir(*cell))) for cell in self.cells)
        return [Row(*row) for row in found if row[-1] is not None]

    def _check_same(self):
        """Raises ConfigError if two runs would share a directory, one of an earlier command's among them."""
        common, settings, envs, digests = self._before()
        now = self._digests()
        changed = [path for path, digest in digests.items() if now.get(path, digest) != digest]
        problems = [f"--config={path} has changed since --out={self.out} was begun; use another." for path in changed]
        if common is not None and common != list(self.flags):
            shown = " ".join(common) or "no flags"
            problems.append(f"--out={self.out} holds runs with {shown} for all; use those, or a new directory.")
        for name, given in self.settings.items():
            before = settings.get(name, list(given))
            if before != list(given):
                shown = " ".join(before) or "no flags"
                problems.append(f"--out={self.out} holds a setting {name} with {shown}; give it another name.")
        all_names = ("settings", [*settings, *self.settings], _place), ("environments", [*envs, *self.envs], place_of)
        for what, names, place in all_names:
            for one, other in itertools.combinations(dict.fromkeys(names), 2):
                if place(one) == place(other):
                    problems.append(f"{what} {one} and {other} would have one directory; give one another name.")
        if problems:
            raise ConfigError(*problems)

    def _before(self):
        """Returns flags of all runs, settings, environments and files of earlier commands; no flags: None."""
        try:
            made = files.read_object(self.out / _PLAN)
            settings = {name: list(one) for name, one in made["settings"].items()}
            return list(made["flags"]), settings, list(made["envs"]), dict(made.get("files", {}))
        except FileNotFoundError:
            return None, {}, [], {}
        except OSError as error:
            raise ConfigError(f"--out={self.out}: {_PLAN} cannot be read: {error.strerror}.") from None
        except (LookupError, TypeError, AttributeError):
            raise ConfigError(f"--out={self.out}: {_PLAN} is damaged; remove it, or use a new directory.") from None

    def _begin(self):
        """Writes what is compared, with what was compared here before."""
        _, settings, envs, digests = self._before()
        made = {
            "flags": list(self.flags),
            "envs": list(dict.fromkeys([*envs, *self.envs])),
            "settings": {**settings, **{name: list(given) for name, given in self.settings.items()}},
            "files": {**digests, **self._digests()},
        }
        archive.write_whole(self.out / _PLAN, run_directory.to_text(made))

    def _digests(self):
        """Returns a digest of each file that --config names and that can be read."""
        given = [flags.typed(["dqn-tf", *one]) for one in (self.flags, *self.settings.values())]
        paths = {pathlib.Path(one["config"]) for one in given if one.get("config")}
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()}

    def run(self, parallel: int, stop: threading.Event) -> list[Row]:
        """Makes all runs that have not finished, and returns all that have.

        Args:
          parallel: how many at a time; 0: as many as there are GPUs or, without any, cores.
          stop: ends all runs, saved, once it is set.
        Raises:
          RunFailed: some have failed; the others were made first.
          RunStopped.
        """
        with self._locked():
            self._begin()
            slots = child.slots(parallel, gpus.visible_gpus(os.environ))
            waiting = [cell for cell in self.cells if child.read(self.logdir(*cell)) is None]
            free = child.free(slots)
            failed = []
            with Meter(self, waiting) as meter, concurrent.futures.ThreadPoolExecutor(len(slots)) as executor:
                futures = {executor.submit(self._one, cell, free, stop): cell for cell in waiting}
                try:
                    for future in meter.as_completed(futures):
                        try:
                            meter.ended(futures[future], future.result())
                        except RunStopped:
                            continue
                        except RunFailed as error:
                            _log.error("%s", error)
                            failed.append(error)
                except BaseException:  # such as Ctrl-C in a notebook
                    stop.set()
                    raise
        if stop.is_set():
            raise RunStopped
        if failed:
            raise RunFailed(f"{len(failed)} of {len(self.cells)} runs have failed; the same command tries them again")
        return self.rows()

    def _one(self, cell, free, stop):
        env, setting, seed = cell
        if stop.is_set():
            raise RunStopped
        slot = free.get()
        try:
            given = [f"--env={env}", f"--seed={seed}", *self.flags, *self.settings[setting]]
            return slot.run(self.logdir(*cell), given, stop)
        except OSError as error:
            raise RunFailed(f"{self.logdir(*cell)} cannot be written: {error.strerror or error}") from error
        finally:
            free.put(slot)

    def _locked(self) -> contextlib.AbstractContextManager:
        """Returns a context in which this process alone makes runs here. Raises ConfigError."""
        directory = RunDirectory(str(self.out))
        try:
            directory.acquire()
        except ConfigError as error:
            raise ConfigError(*(line.replace("--logdir", "--out") for line in error.problems)) from None
        return directory.acquired()


def place_of(env: str) -> str:
    """Returns an environment's name as one of a file."""
    return re.sub(r"\W+", "-", env)


def _place(setting):
    return setting.replace(" ", "_")


def own_flags(given: Sequence[str]) -> list[str]:
    """Returns a line for each flag that is not for runs of a comparison or a sweep."""
    own = [word for word in given if word.startswith("-") and words.name_of(word) in OWN_FLAGS]
    return [f"{word} is not for all runs; leave it out, see --help." for word in own]


def problems_of_run(given: Sequence[str]) -> Sequence[str]:
    """Returns a line for each mistake in the flags of a run, as the run itself would tell."""
    argv = ["dqn-tf", *given]
    with tempfile.TemporaryDirectory() as scratch:
        argv.append(f"--logdir={scratch}/run")
        try:
            config, problems = flags.parse(argv, has_gpu=bool(gpus.visible_gpus(os.environ)))
            plan.make(config, problems, os.environ, time.time(), flags.typed(argv)).directory.abandon()
        except ConfigError as error:
            return error.problems
    return []


def by_cell(rows: Sequence[Row]) -> Iterator[tuple[str, str, list[Row]]]:
    """Yields the runs of each environment and setting, in the order in which they come first."""
    for env in dict.fromkeys(row.env for row in rows):
        for setting in dict.fromkeys(row.setting for row in rows if row.env == env):
            yield env, setting, [row for row in rows if (row.env, row.setting) == (env, setting)]
