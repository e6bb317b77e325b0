"""The command line: one absl flag for each setting, `--help` in groups, and argv to a Config."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from absl import flags as absl_flags

from dqn_tf.config import files, presets
from dqn_tf.config import schema as config_lib
from dqn_tf.config import settings, words
from dqn_tf.config.algorithms import ALGORITHMS
from dqn_tf.config.schema import Config, ConfigError


class _Text(absl_flags.ArgumentParser):
    """Keeps the text as given: settings.py turns it into a value, so that all mistakes are told at once."""

    def parse(self, argument):
        return argument


class _Repeated(absl_flags.Flag):
    """A flag that may be given several times: its text is all of them, comma separated."""

    def parse(self, argument):
        before = self.value
        super().parse(argument)
        if before:
            self.value = f"{before},{argument}"


def define() -> absl_flags.FlagValues:
    """Returns the absl flags of the program, one for each setting, none of them given."""
    values = absl_flags.FlagValues()
    for setting in settings.SETTINGS.values():
        kind = _Repeated if setting.field.type == tuple[str, ...] else absl_flags.Flag
        flag = kind(
            _Text(), absl_flags.ArgumentSerializer(), setting.name, None, setting.field.metadata["help"]
        )
        flag.boolean = setting.field.type is bool  # --overlap and --nooverlap
        absl_flags.DEFINE_flag(flag, values, module_name=f"dqn_tf.{setting.section}")
    return values


def parse(argv: Sequence[str], others: Sequence[str] = (), has_gpu: bool = False) -> tuple[Config, list[str]]:
    """Returns the Config of a command line, argv[0] is the program, and one line for each mistake in it.

    Defaults, then the preset, then --config, then flags: the later wins; a --preset that is typed is a flag. If there
    are mistakes, the Config has defaults in their places, so that later checks run too and all mistakes are told at
    once. A misspelt flag may be one of `others` too, the names of options that were taken out of argv. A preset may
    have other values if the machine has a GPU.
    """
    given, problems = _given(argv, others)
    typed, wrong = settings.parse_all(given)
    problems += wrong
    stored, unread = _read(typed["config"]) if "config" in typed else ({}, [])
    for name, text in settings.foreign(stored).items():
        if name not in typed:
            advice = f"add --{name}={text} to trust it."
            unread.append(f"--config={typed['config']} names a module that would be imported; {advice}")
            del stored[name]
    config, wrong = combine(typed, stored, given.keys() - typed.keys() if not unread else None, has_gpu)
    return config, problems + unread + wrong


def combine(
    typed: Mapping[str, Any],
    stored: Mapping[str, Any],
    mistaken: Collection[str] | None = (),
    has_gpu: bool = False,
) -> tuple[Config, list[str]]:
    """Returns the Config of settings by name, and one line for each contradiction.

    Args:
      typed: those that win; a preset among them is one of them.
      stored: of a file or a Config. The preset changes defaults, what is stored wins over it.
      mistaken: names of those that are wrong, whose contradictions are not told; None: tell none.
      has_gpu: whether this machine has a GPU, which a preset may ask.
    """
    named = {**stored, **typed}
    try:
        own, asked = presets.layers(named.get("preset", "auto"), named.get("env", Config().run.env), has_gpu)
    except ConfigError as error:
        return settings.build({**stored, **typed}), list(error.problems)

    def built(own):
        preset = {**own, **asked}
        return settings.build({**stored, **preset, **typed} if "preset" in typed else {**preset, **stored, **typed})

    problems = config_lib.check(built(own))
    if problems and has_gpu:  # what a GPU would take may contradict what is given
        return combine(typed, stored, mistaken)
    for name in own:  # what an environment takes by itself gives way
        less = {key: value for key, value in own.items() if key != name}
        if problems and len(left := config_lib.check(built(less))) < len(problems):
            own, problems = less, left
    if mistaken is None:  # a contradiction may be with a default that the file or the preset replaces
        problems = []
    names = [f"--{name}=" for name in mistaken or ()]
    return built(own), [line for line in problems if not any(name in line for name in names)]


def typed(argv: Sequence[str]) -> dict[str, Any]:
    """Returns the values of the flags of a command line that are given and right, by name."""
    return settings.parse_all(_given(argv, ())[0])[0]


def unknown(argv: Sequence[str], others: Sequence[str]) -> list[str]:
    """Returns one line for each word of a command line that is no flag. See `parse`."""
    return _given(argv, others)[1]


def _as_flags(argv):
    """Returns argv in absl's form where a platform gives hyperparameters: --batch-size 32 --overlap False."""
    taken = list(argv[:1])
    switches = {f"--{name}" for name, setting in settings.SETTINGS.items() if setting.field.type is bool}
    for word in argv[1:]:
        name, (_, separator, value) = words.name_of(word), word.partition("=")
        if taken[-1] in switches and word.lower() in ("true", "false"):
            taken[-1] += f"={word}"
        elif word.startswith("-") and name in settings.SETTINGS:
            taken.append(f"--{name}{separator}{value}")
        else:
            taken.append(word)
    return taken


def _given(argv, others):
    values = define()
    try:
        rest = values(_as_flags(argv), known_only=True)[1:]
    except (absl_flags.Error, ValueError) as error:
        return {}, [f"{error}; see --help."]
    given = {name: values[name].value for name in settings.SETTINGS if values[name].present}
    return given, words.unknown(rest, [*others, *settings.SETTINGS])


def _read(path):
    try:
        tree = files.read_object(path)
    except OSError as error:
        return {}, [f"--config={path} cannot be read: {error.strerror}."]
    return settings.from_json(tree, f"--config={path}")


def wants_help(argv: Sequence[str]) -> bool:
    """Returns whether the command line asks for help and nothing else matters."""
    return any(argument in ("-h", "--help", "-help", "--helpfull", "--helpshort") for argument in argv[1:])


def help_text() -> str:
    """Returns what --help prints: every flag in its group with default, unit and source."""
    lines = ["Trains a DQN: python train.py [flags]. Flags, a typed --preset among them, win over --config.", ""]
    for branch in dataclasses.fields(Config):
        lines.append(f"{branch.name}: {branch.metadata['help']}")
        for setting in settings.SETTINGS.values():
            if setting.section == branch.name:
                lines += words.describe(setting)
        lines.append("")
    lines.append("  What --preset stands for")
    lines += [f"      {name}: {text}" for name, text in _preset_rows()]
    return "\n".join(lines)


def _preset_rows():
    """Yields the name of each preset, and the flags that it stands for."""
    for name, values in presets.PRESETS.items():
        on_gpu = f"; on a GPU {_as_text(presets.ON_GPU[name])}" if name in presets.ON_GPU else ""
        yield name, (_as_text(values) or "the defaults") + on_gpu + presets.taken_by(name)
    for name, algorithm in ALGORITHMS.items():
        yield name, (
            f"{_as_text(algorithm.parts)}; and for Atari games {_as_text(algorithm.games)} ({algorithm.source})"
        )


def _as_text(values):
    return " ".join(f"--{key}={settings.to_text(value)}" for key, value in values.items())


def markdown() -> str:
    """Returns docs/flags.md, which a test compares with this."""
    lines = ["# Flags", "", "Made by `python -m dqn_tf.config.flags`; the same as `python train.py --help`.", ""]
    for branch in dataclasses.fields(Config):
        lines += [f"## {branch.name}", "", branch.metadata["help"], "", "| flag | meaning | default | unit | source |"]
        lines.append("|---|---|---|---|---|")
        for setting in settings.SETTINGS.values():
            if setting.section == branch.name:
                limits = setting.field.metadata
                default = settings.to_text(setting.field.default) if setting.field.default is not None else ""
                cells = (f"`--{setting.name}`", limits["help"], default, limits["unit"], limits["source"])
                lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    lines += ["## Presets", "", "| preset | flags |", "|---|---|"]
    lines += [f"| {name} | {text} |" for name, text in _preset_rows()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
