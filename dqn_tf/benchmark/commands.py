"""What the commands that make many runs have in common: seeds, options given again, extras, signals."""

import contextlib
import importlib.util
import os
import pathlib
import re
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dqn_tf.benchmark.child import RunFailed, RunStopped
from dqn_tf.config import files, flags, words
from dqn_tf.config.schema import ConfigError
from dqn_tf.config.settings import Setting
from dqn_tf.process import signals

_SEEDS = re.compile(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", re.ASCII)
_MOST_SEEDS = 10_000


def seeds_of(text: str) -> list[int]:
    """Returns the seeds in a text such as 0-9 or 0,1,5-7. Raises ConfigError."""
    matches = [_SEEDS.fullmatch(part) for part in text.split(",")]
    if all(matches):
        ranges = [range(int(one[1]), int(one[2] or one[1]) + 1) for one in matches]
        if all(ranges) and sum(map(len, ranges)) <= _MOST_SEEDS:
            return [seed for one in ranges for seed in one]
    raise ConfigError(f"--seeds={text} must be whole numbers and ranges with commas between, such as 0-9 or 0,1,5.")


def taken_out(argv: Sequence[str], option: str, is_many: bool = False) -> tuple[list[str], list[str]]:
    """Returns the values of an option that may be given again, and the other words.

    Args:
      is_many: the option takes all words up to the next flag, not only one.
    """
    values, rest, waiting = [], [], list(reversed(argv))
    while waiting:
        word = waiting.pop()
        if not word.startswith("-") or words.name_of(word) != option:
            rest.append(word)
            continue
        found = [word.partition("=")[2]] if "=" in word else []
        while waiting and not waiting[-1].startswith("--") and (is_many or not found):
            found.append(waiting.pop())
        if not found:
            raise ConfigError(f"--{option} needs a value; see --help.")
        values += found
    return values, rest


def options_of(kind: type, known: Mapping[str, Setting], argv: Sequence[str]) -> tuple[Any, list[int], list, list[str]]:
    """Returns the options of a command, its seeds, the other words, and one line for each mistake.

    Args:
      kind: the dataclass of the options, with `out` and `seeds` among them; `known`: its settings by name.
    """
    values, rest, problems = words.parse(known, argv)
    problems += flags.unknown(["dqn-tf", *rest], tuple(known))
    options, seeds = kind(**values), []
    if not options.out and not any(line.startswith("--out") for line in problems):
        problems.append(f"--out is missing: {known['out'].field.metadata['help'].partition(';')[0]}; see --help.")
    try:
        seeds = seeds_of(options.seeds)
    except ConfigError as error:
        problems += error.problems
    return options, seeds, rest, problems


def directory_of(text: str | os.PathLike) -> pathlib.Path:
    """Returns the directory that is named, with ~ as the home directory. Raises ConfigError: it is in a bucket."""
    text = os.fspath(text)
    if "://" in text:
        raise ConfigError(f"--out={text} must be a directory of this machine.")
    try:
        return pathlib.Path(files.from_user(text))
    except ValueError as allowed:
        raise ConfigError(f"--out={text} must be {allowed}.") from None


def problems_of_seeds(seeds: Sequence[int]) -> list[str]:
    """Returns a line for each mistake in seeds."""
    problems = [] if seeds else ["no seed is given."]
    problems += [f"seed {seed} must be a whole number of at least 0." for seed in seeds if seed < 0]
    twice = dict.fromkeys(seed for number, seed in enumerate(seeds) if seed in seeds[:number])
    return problems + [f"seed {seed} is given twice; leave one out." for seed in twice]


def check_installed(module: str, extra: str) -> None:
    """Raises ConfigError if the package of an extra is missing."""
    if importlib.util.find_spec(module) is None:
        raise ConfigError(f"{module} is not installed: pip install -e '.[{extra}]'")


def run(work: Callable[[threading.Event], None]) -> int:
    """Calls `work` with an event that a signal sets; returns the exit code of the command, having said why."""
    stop, numbers = threading.Event(), []

    impatience = signals.Impatience()

    def handle(number, frame):
        stop.set()
        is_again, _ = impatience.grows(number), numbers.append(number)
        line = "leaving at once" if is_again else "stopping: the runs under way are being saved"
        if is_again or len(numbers) == 1:
            with contextlib.suppress(OSError):  # not by print, which may be in the middle of a line
                os.write(2, f"{line}\n".encode())
        if is_again:
            os._exit(128 + number)  # the runs notice, and end too

    before = signals.take(handle)
    try:
        work(stop)
    except RunStopped:
        print("stopped, saved; the same command goes on from there", file=sys.stderr)
        return 128 + numbers[0]
    except RunFailed as error:
        print(error, file=sys.stderr)
        return 1
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{error.filename or 'the results'} cannot be written: {error.strerror or error}", file=sys.stderr)
        return 1
    finally:
        signals.give_back(before)
    return 0
