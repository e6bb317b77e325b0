"""The leaves of the Config tree by name: text or JSON to typed values, and a whole Config to and from JSON."""

import ast
import dataclasses
import difflib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from dqn_tf.config import files
from dqn_tf.config.schema import Config, ConfigError, JsonObject

_FORMER = {"learning": "agent", "exploration": "agent", "communication": "agent"}  # sections of version 0.1


@dataclasses.dataclass(frozen=True)
class Setting:
    """One option: `field` is its dataclass field, `section` its branch of the Config tree, "" if it is elsewhere."""

    section: str
    field: dataclasses.Field

    @property
    def name(self) -> str:
        return self.field.name

    @property
    def is_stored(self) -> bool:
        """Whether config.json keeps it: it says what the run is, not where."""
        return self.field.metadata["stored"]

    @property
    def is_path(self) -> bool:
        """Whether it is a path on this machine, or a bucket's address; ~ is the home directory."""
        return self.field.metadata["unit"].startswith("path")

    def parse(self, value: Any) -> Any:
        """Returns `value`, a flag's text or a JSON value, as this setting's type. Raises ConfigError."""
        if isinstance(value, bool) and self.field.metadata["choices"]:
            value = str(value)  # as Python has it
        try:
            parsed = _CONVERTERS[self.field.type](value)
        except (ValueError, TypeError, OverflowError, RecursionError):
            parsed = math.nan  # fails every check of its range
        if isinstance(parsed, str):  # platforms make True of true
            parsed = {choice.lower(): choice for choice in self.field.metadata["choices"]}.get(parsed.lower(), parsed)
            parsed = self._path(parsed) if self.is_path else parsed
        items = parsed if isinstance(parsed, tuple) else (parsed,)
        if not all(self._is_allowed(item) for item in items):
            nearest = difflib.get_close_matches(str(value), self.field.metadata["choices"], n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else "."
            raise ConfigError(f"--{self.name}={to_text(value)} must be {self.allowed()}{hint}")
        return parsed

    def _path(self, text):
        try:
            return files.from_user(text)
        except ValueError as allowed:
            raise ConfigError(f"--{self.name}={text} must be {allowed}.") from None

    def allowed(self) -> str:
        """Returns in words which values are allowed."""
        limits = self.field.metadata
        own = f"module:{limits['own']}" if limits["own"] else ""
        if limits["choices"]:
            return "one of " + ", ".join(filter(None, limits["choices"])) + (f", or {own} of your own" if own else "")
        if own:
            return f"{own}, or several separated by commas" if self.field.type == tuple[str, ...] else own
        if limits["words"]:
            return limits["words"]
        word, low, high = _WORDS[self.field.type], limits["minimum"], limits["maximum"]
        if high is not None:
            return f"{word} from {low} to {high}"
        return word if low is None else f"{word} of at least {low}"

    def _is_allowed(self, item):
        limits = self.field.metadata
        low, high, choices = limits["minimum"], limits["maximum"], limits["choices"]
        if isinstance(item, float) and not math.isfinite(item):
            return False
        if item is None or limits["own"] and re.fullmatch(_OWN, str(item)):
            return True
        if limits["own"] and not choices:
            return False
        if limits["pattern"] and not re.fullmatch(limits["pattern"], item):
            return False
        return (not choices or item in choices) and (low is None or item >= low) and (high is None or item <= high)


_OWN = r"[^\s:,]+:[^\s:,]+"
_LARGEST = 2**53 - 1  # whole numbers up to here survive as floats, which JSON's numbers may be


def _to_bool(value):
    text = str(value).lower()
    if text not in ("true", "false", "1", "0"):
        raise ValueError
    return text in ("true", "1")


def _to_float(value):
    if isinstance(value, bool):
        raise TypeError
    return float(value)


def _to_int(value):
    try:
        return _whole(int(value) if isinstance(value, str) else _to_float(value))
    except ValueError:
        return _whole(float(value))  # 1e6


def _whole(number):
    if number != int(number) or abs(number) > _LARGEST:
        raise ValueError
    return int(number)


def _to_str(value):
    if not isinstance(value, str):
        raise TypeError
    return value


def _to_ints(value):
    if not isinstance(value, str | list | tuple):
        raise TypeError
    if isinstance(value, str):
        text = value.strip("()[] ").removesuffix(",")
        value = text.split(",") if text else ()
    return tuple(map(_to_int, value))


def _to_strs(value):
    if not isinstance(value, str | list | tuple):
        raise TypeError
    return tuple(map(_to_str, filter(None, value.split(",")) if isinstance(value, str) else value))


def _to_object(value):
    """Returns a JSON object's text; platforms that read JSON themselves hand it on as Python writes it."""
    if isinstance(value, str):
        try:
            value = json.loads(value, object_pairs_hook=_without_doubles) if value.strip() else {}
        except json.JSONDecodeError:
            value = _literal(value)
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise TypeError
    return JsonObject(json.dumps(value, allow_nan=False))


def _literal(text):
    try:
        return ast.literal_eval(text.strip())
    except (SyntaxError, MemoryError) as error:
        raise ValueError from error


def _without_doubles(pairs):
    if len(dict(pairs)) < len(pairs):
        raise ValueError
    return dict(pairs)


_CONVERTERS = {
    bool: _to_bool,
    int: _to_int,
    int | None: lambda value: None if value in (None, "") else _to_int(value),
    float: _to_float,
    float | None: lambda value: None if value in (None, "") else _to_float(value),
    str: _to_str,
    JsonObject: _to_object,
    tuple[int, ...]: _to_ints,
    tuple[str, ...]: _to_strs,
}
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    int | None: "a whole number",
    float: "a number",
    float | None: "a number",
    str: "text",
    JsonObject: 'a JSON object, such as {"name": 8}',
    tuple[int, ...]: "whole numbers separated by commas, each",
}


def of(table: type, section: str = "") -> dict[str, Setting]:
    """Returns the settings of a dataclass whose fields are made by `schema.field`, by name."""
    return {leaf.name: Setting(section, leaf) for leaf in dataclasses.fields(table)}


SETTINGS: Mapping[str, Setting] = {
    name: setting for branch in dataclasses.fields(Config) for name, setting in of(branch.type, branch.name).items()
}


def to_text(value: Any) -> str:
    """Returns `value` as it is written on the command line."""
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse_all(
    values: Mapping[str, Any], known: Mapping[str, Setting] = SETTINGS
) -> tuple[dict[str, Any], list[str]]:
    """Returns the values, by setting name, as their types, and one line for each that is wrong."""
    parsed, problems = {}, []
    for name, value in values.items():
        try:
            parsed[name] = known[name].parse(value)
        except ConfigError as error:
            problems += error.problems
    return parsed, problems


def build(values: Mapping[str, Any]) -> Config:
    """Returns the Config with typed `values` by setting name, and defaults elsewhere."""
    branches = {}
    for branch in dataclasses.fields(Config):
        mine = {name: value for name, value in values.items() if SETTINGS[name].section == branch.name}
        branches[branch.name] = branch.type(**mine)
    return Config(**branches)


def values_of(config: Config) -> dict[str, Any]:
    """Returns the settings of a Config by name."""
    return {name: getattr(getattr(config, one.section), name) for name, one in SETTINGS.items()}


def to_json(config: Config) -> dict[str, dict[str, Any]]:
    """Returns the stored settings as a tree of plain values, the contents of config.json."""
    tree: dict[str, dict[str, Any]] = {}
    for name, value in values_of(config).items():
        if SETTINGS[name].is_stored:
            tree.setdefault(SETTINGS[name].section, {})[name] = _plain(value)
    return tree


def stored(tree: Mapping[str, Any], section: str) -> Any:
    """Returns what a config.json tree has of a section, which may be named as it was in version 0.1; {} if nothing."""
    return next((tree[name] for name in _sections(section) if name in tree), {})


def _sections(section):
    return (section, _FORMER.get(section, section))


def _plain(value):
    """Returns a setting's value as JSON has it."""
    if isinstance(value, JsonObject):
        return value.tree
    return list(value) if isinstance(value, tuple) else value


def _hint(section, name, setting):
    """Returns what to do about an unknown section.name; `setting` is the one of that name, if any."""
    if setting is not None and not setting.is_stored:
        return f"; it says where a run is, not what: give --{name}."
    known = [f"{s.section}.{s.name}" for s in SETTINGS.values() if s.is_stored]
    nearest = difflib.get_close_matches(f"{section}.{name}", known, n=1)
    if setting is not None:
        nearest = [f"{setting.section}.{name}"]
    return f"; did you mean {nearest[0]}?" if nearest else "."


def foreign(values: Mapping[str, Any]) -> dict[str, str]:
    """Returns the text of each setting that names a module of a user's, which a run of these values would import."""
    texts = {name: to_text(values[name]) for name in ("env", "wrapper", "network", "loss") if values.get(name)}
    return {name: text for name, text in texts.items() if ":" in text.removeprefix("ale_py:")}


def from_json(tree: Any, source: str) -> tuple[dict[str, Any], list[str]]:
    """Returns the typed values of a config.json tree and one line for each mistake in it.

    Settings that say where a run is (logdir, the cluster file, the task) are not read from a file.
    """
    if not isinstance(tree, dict) or not all(isinstance(leaves, dict) for leaves in tree.values()):
        return {}, [f"{source} must hold a JSON object of sections, as the config.json of a run does."]
    values, problems = {}, []
    for section, leaves in tree.items():
        for name, value in leaves.items():
            setting = SETTINGS.get(name)
            if setting is None or section not in _sections(setting.section) or not setting.is_stored:
                problems.append(f"{source} has an unknown setting {section}.{name}{_hint(section, name, setting)}")
            else:
                values[name] = value
    parsed, wrong = parse_all(values)
    return parsed, problems + [f"{source}: {line}" for line in wrong]
