"""The words of a command line as options: text to typed values, and what --help says of each. Without TensorFlow."""

import difflib
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dqn_tf.config import settings
from dqn_tf.config.settings import Setting


def name_of(word: str) -> str:
    """Returns the name of an option as it may be typed: batch_size of --batch-size=32."""
    return word.partition("=")[0].lstrip("-").replace("-", "_")


def parse(known: Mapping[str, Setting], words: Sequence[str]) -> tuple[dict[str, Any], list[str], list[str]]:
    """Returns the values of the options that are given and right, the other words, and one line for each mistake.

    An option is written --max_hours=2, --max-hours=2 or --max_hours 2; a switch also --spot, --spot false or --nospot.
    If it is given twice, the later counts.

    Args:
      known: the options, by name.
      words: of the command line, without the program.
    """
    texts, rest, problems, waiting = {}, [], [], list(reversed(words))
    while waiting:
        word = waiting.pop()
        name, (_, is_given, text) = name_of(word), word.partition("=")
        positive = name if name in known or is_given else name.removeprefix("no")
        is_switch = positive in known and known[positive].field.type is bool
        following = waiting[-1] if waiting else "--"
        if not word.startswith("-") or not (name in known or is_switch):
            rest.append(word)
        elif is_given:
            texts[name] = text
        elif is_switch and following.lower() not in ("true", "false"):
            texts[positive] = name == positive
        elif following.startswith("--"):
            problems.append(f"--{name} needs a value, --{name}=...: {known[name].field.metadata['help']}.")
        else:
            texts[positive] = waiting.pop()
    values, wrong = settings.parse_all(texts, known)
    return values, rest, problems + wrong


def unknown(words: Iterable[str], names: Sequence[str]) -> list[str]:
    """Returns one line for each word that no option takes, with the nearest of the `names` that there are."""
    problems = []
    for word in words:
        nearest = difflib.get_close_matches(name_of(word), names, n=1)
        hint = f"; did you mean --{nearest[0]}?" if nearest and word.startswith("-") else "; see --help."
        problems.append(f"{word} is {'an unknown flag' if word.startswith('-') else 'not a flag'}{hint}")
    return problems


def describe(setting: Setting, more: str = "") -> list[str]:
    """Returns the lines of --help for an option, with `more` at the end of its help."""
    limits, default = setting.field.metadata, setting.field.default
    text = limits["help"] + more
    if limits["choices"]:
        text += f" ({setting.allowed()})"
    details = [f"default: {settings.to_text(default)}" if default not in ("", None, ()) else "default: empty"]
    details += [f"{key}: {limits[key]}" for key in ("unit", "source") if limits[key]]
    body = textwrap.wrap(f"{text} [{'; '.join(details)}]", width=92)
    return [f"  --{setting.name}"] + [f"      {line}" for line in body]
