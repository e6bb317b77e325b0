"""What a sweep searches: for each flag a range or choices, from texts such as learning_rate=log:1e-4:1e-2."""

import dataclasses
import difflib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from dqn_tf.benchmark.comparison import OWN_FLAGS
from dqn_tf.config import files, settings
from dqn_tf.config.schema import ConfigError

_FIXED = (*OWN_FLAGS, "config", "strategy", "train_env_steps", "eval_period")  # results must be comparable
FORMS = "log:LOW:HIGH, LOW:HIGH, or values with commas between (with ; between where a value has commas)"


@dataclasses.dataclass(frozen=True)
class Dimension:
    """One flag.

    Attributes:
      text: as it was given.
      choices: values to choose from, those that have commas as texts; () for a range.
      low, high: of a range; int if the flag is a whole number.
      is_log: the range is searched by its logarithm.
    """

    name: str
    text: str
    choices: tuple[bool | int | float | str, ...] = ()
    low: float = 0
    high: float = 0
    is_log: bool = False

    def suggest(self, trial: Any) -> Any:
        """Returns a value that an optuna.Trial chooses."""
        if self.choices:
            return trial.suggest_categorical(self.name, self.choices)
        suggest = trial.suggest_int if isinstance(self.low, int) else trial.suggest_float
        return suggest(self.name, self.low, self.high, log=self.is_log)


def parse(given: Sequence[str]) -> dict[str, Dimension]:
    """Returns the dimensions in texts NAME=RANGE by name. Raises ConfigError with every mistake."""
    space, problems = {}, []
    for word in given:
        name, separator, text = word.partition("=")
        name = name.strip().replace("-", "_")
        if not separator or not text.strip():
            problems.append(f"--search {word} must be NAME={FORMS}.")
        elif name in space:
            problems.append(f"--search {word}: {name} is given twice; leave one out.")
        else:
            try:
                space[name] = _dimension(name, text.strip())
            except ConfigError as error:
                problems += error.problems
    if problems:
        raise ConfigError(*problems)
    return space


def read(path: str) -> list[str]:
    """Returns the texts NAME=RANGE in a YAML or JSON file: NAME: RANGE, a line each. Raises ConfigError."""
    try:
        text = pathlib.Path(files.from_user(path)).read_text(encoding="utf-8")
        tree = yaml.load(text, Loader=yaml.BaseLoader)  # all as text: YAML would read 1:5 as 65
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--space={path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"--space={path} is not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(tree, Mapping) or not tree:
        raise ConfigError(f"--space={path} must hold lines such as learning_rate: log:1e-4:1e-2.")
    return [f"{name}={_text(value)}" for name, value in tree.items()]


def shown(value: Any) -> str:
    """Returns a value of a trial for a person to read."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _text(value):
    """Returns a range or choices; a list of YAML's is choices."""
    if not isinstance(value, list):
        return settings.to_text(value)
    separator = ";" if any(isinstance(one, list) for one in value) else ","
    return separator.join(map(settings.to_text, value)) + (";" if separator == ";" and len(value) == 1 else "")


def _dimension(name, text):
    setting = settings.SETTINGS.get(name)
    if setting is None or name in _FIXED:
        nearest = difflib.get_close_matches(name, [one for one in settings.SETTINGS if one not in _FIXED], n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else "; see docs/flags.md."
        what = "is not for a sweep" if setting else "is an unknown flag"
        raise ConfigError(f"--search {name}={text}: {name} {what}{hint}")
    head, *ends = text.split(":")
    is_number = setting.field.type in (int, float, int | None, float | None)
    if is_number and ends:
        return _range(setting, text, head, ends)
    separator = ";" if ";" in text else ","
    if setting.field.type in (tuple[int, ...], tuple[str, ...]) and separator == ",":
        raise ConfigError(f"--search {name}={text}: values of {name} have commas, so put ; between them.")
    parsed = [setting.parse(one.strip()) for one in text.split(separator) if one.strip()]
    choices = tuple(settings.to_text(one) if isinstance(one, tuple) else one for one in parsed)
    if len(set(choices)) < max(2, len(choices)):
        raise ConfigError(f"--search {name}={text} must be two values or more, each once.")
    return Dimension(name, text, choices)


def _range(setting, text, head, ends):
    is_log = head == "log"
    ends = ends if is_log else [head, *ends]
    if len(ends) != 2:
        raise ConfigError(f"--search {setting.name}={text} must be {FORMS}.")
    low, high = map(setting.parse, ends)
    if not low < high or is_log and low <= 0:
        above = ", and LOW above 0" if is_log else ""
        raise ConfigError(f"--search {setting.name}={text}: LOW must be below HIGH{above}.")
    return Dimension(setting.name, text, (), low, high, is_log)
