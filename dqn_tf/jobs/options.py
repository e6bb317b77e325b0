"""The options of a job beside the flags of its run: a command line becomes typed values. Without TensorFlow."""

import argparse
import dataclasses
import difflib
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from dqn_tf.config import files
from dqn_tf.jobs import targets

_LABEL = r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?"
_LABEL_WORDS = "at most 50 lower-case letters, digits and dashes, from a letter on, not up to a dash"
_WORD = r"[\w.@:/+=-]*[\w]"
# What a platform does where --grace_seconds cannot be chosen.
_GRACE = {
    "vertex": "; it decides the time between SIGTERM and SIGKILL, 30 s on spot machines.",
    "sagemaker": "; it gives 120 s between SIGTERM and SIGKILL.",
    "azureml": "; it decides the time between SIGTERM and SIGKILL.",
}
_MISSING = "\0"  # an option at the end of the line, or before the next one


@dataclasses.dataclass(frozen=True)
class Option:
    """One option: how its text becomes a value.

    Attributes:
      kind: int, float, bool or str.
      default: value where it is not given; "" and None say not given.
      low, high: of numbers.
      pattern: of text, and `words` what it allows.
      is_path: whether the text is a path on this machine, in which ~ is the home directory.
      most: of numbers, where less than `high` is allowed for a reason: how many, and what is said of more.
    """

    help: str
    kind: type = str
    default: Any = ""
    low: float = 0
    high: float = math.inf
    pattern: str = r"[^\x00-\x1f\x7f]*"
    words: str = "text of one line"
    most: tuple[float, str] | None = None
    is_path: bool = False

    def parse(self, text: str) -> Any:
        """Returns the value of `text`. Raises ValueError with what is allowed."""
        if self.kind is str:
            if not re.fullmatch(self.pattern, text):
                raise ValueError(self.words)
            return files.from_user(text) if self.is_path else text
        if self.kind is bool:
            if text.lower() not in ("true", "false", "1", "0"):
                raise ValueError("true or false")
            return text.lower() in ("true", "1")
        word = "a whole number" if self.kind is int else "a number"
        try:
            number = self.kind(text)
        except ValueError:
            number = math.nan
        if not self.low <= number <= self.high:
            raise ValueError(f"{word} from {self.low} to {self.high}")
        if self.most and number > self.most[0]:
            raise ValueError(self.most[1])
        return number


OPTIONS: Mapping[str, Option] = {
    "workers": Option("machines that train together", int, 1, 1, 512),
    "machine": Option("machine type of each worker, one of the price file", pattern=f"({_WORD})?"),
    "region": Option("region, one of the price file", pattern=f"({_WORD})?"),
    "gpus": Option("GPUs of each machine; default: those that the machine type comes with", int, None, 0, 64),
    "cores": Option("cores of each worker where no --machine says it; default: 2", int, None, 1, 1024),
    "image": Option(
        "container image whose entry point is train.py, see deploy/Dockerfile",
        pattern=f"({_WORD})?",
        words="a container image",
    ),
    "storage": Option("where checkpoints and results are kept"),
    "spot": Option("on capacity that may be taken away, at a lower price", bool, False),
    "evaluator": Option("one more task that evaluates the checkpoints beside the training", bool, False),
    "tensorboard": Option("the platform's TensorBoard instance", pattern=f"({_WORD})?"),
    "identity": Option("service account or role the job runs as; Slurm: the account charged", pattern=f"({_WORD})?"),
    "partition": Option("partition to run in", pattern=r"[\w.,-]*", words="names of partitions"),
    "name": Option("name of the job; default: dqn-<env>", pattern=f"({_LABEL})?", words=_LABEL_WORDS),
    "max_hours": Option("after which the job is ended; Slurm: each start of it", float, 24.0, 0.02, 8784),
    "max_restarts": Option(
        "restarts after failures that are not the user's mistake; Kubernetes, Kubeflow TFJob: without those after exit "
        "code 143, which --max_hours ends; SageMaker: after its own failures only; Vertex AI: 0 for none, else as many "
        "as it chooses",
        int,
        3,
        0,
        100,
    ),
    "grace_seconds": Option(
        "between SIGTERM and SIGKILL, in which a checkpoint is written; the others choose it themselves",
        int,
        120,
        1,
        3600,
    ),
    "prices": Option("price file to use instead of the one that comes with the program", is_path=True),
    "output": Option("directory of the files; default: jobs/<platform>/<name>", is_path=True),
    "submit": Option("submit the job too; without it nothing leaves this machine", bool, False),
}


def parse(platform: str, words: Sequence[str]) -> tuple[dict[str, Any], list[str], list[str]]:
    """Returns every option's value by name, the words that are not options, and one line for each mistake.

    Where one is mistaken its value is the default.
    """
    target = targets.TARGETS[platform]
    mine = {name: _on(target, name) for name in OPTIONS if name in target.options}
    texts, rest = split(OPTIONS, words)
    values, problems = read(mine, {name: text for name, text in texts.items() if name in mine})
    for name, option in OPTIONS.items():
        if name not in mine:
            values[name] = option.default
            if name in texts:
                problems.append(f"--{name} is not an option of {target.title}{_instead(platform, name)}")
    mistaken = {line.split("=")[0].split(" ")[0] for line in problems}
    for name in target.required:
        if not values[name] and f"--{name}" not in mistaken:
            problems.append(f"--{name} is missing for {target.title}: {mine[name].help}.")
    given = values["storage"]
    values["storage"] = given.rstrip("/") or given
    if given and not target.takes(values["storage"]):
        problems.append(
            f"--storage={given} must be {target.storage} for {target.title}, such as {target.storage_example}."
        )
    return values, rest, problems


def split(known: Mapping[str, Option], words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Returns the texts of those options that are given, for `read`, and the words that are not options.

    Options are written as the run's flags are: --max_hours=2, --max-hours 2, --spot, --spot=False.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in known:
        parser.add_argument(f"--{name}", nargs="?", const=_MISSING)
    given, rest = parser.parse_known_args([_spelled(known, word) for word in words])
    return {name: text for name, text in vars(given).items() if text is not None}, rest


def read(known: Mapping[str, Option], texts: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Returns the value of every option, its default where it is not in `texts` or mistaken, and the mistakes."""
    values, problems = {name: option.default for name, option in known.items()}, []
    for name, option in known.items():
        text = texts.get(name)
        if text == _MISSING and option.kind is not bool:
            problems.append(f"--{name} needs a value, --{name}=...: {option.help}.")
        elif text is not None:
            try:
                values[name] = option.parse("true" if text == _MISSING else text)
            except ValueError as allowed:
                problems.append(f"--{name}={text} must be {allowed}.")
    return values, problems


def to_words(values: Mapping[str, Any]) -> list[str]:
    """Returns those of `values` that are not defaults as they are typed, without --output and --submit."""
    return [
        f"--{name}={values[name]}"
        for name, option in OPTIONS.items()
        if name not in ("output", "submit") and values[name] != option.default
    ]


def _spelled(known, word):
    """Returns --max-hours as --max_hours; other words as they are."""
    name, separator, value = word.partition("=")
    spelled = "--" + name[2:].replace("-", "_")
    return spelled + separator + value if name.startswith("--") and spelled[2:] in known else word


def _on(target, name):
    """Returns an option as it is on a platform."""
    option = OPTIONS[name]
    if name == "storage":
        return dataclasses.replace(option, help=f"{option.help}, {target.storage}, such as {target.storage_example}")
    if name == "identity":
        return dataclasses.replace(option, help=target.identity)
    if name == "max_restarts" and target.restarts:
        return dataclasses.replace(option, most=target.restarts)
    return option


def _instead(platform, name):
    if platform == "slurm":
        return {
            "machine": "; choose machines with --partition, --cores and --gpus.",
            "spot": "; name a partition that may be preempted, --partition=...",
            "image": "; the job runs in the Python environment from which it is submitted.",
            "tensorboard": "; read the run's directory with tensorboard --logdir.",
        }.get(name, ".")
    if name == "evaluator":
        return "; evaluate the run's directory from elsewhere: python train.py --task_type=evaluator."
    return {
        "cores": "; --machine has its cores.",
        "tensorboard": "; TensorBoard reads --storage.",
        "grace_seconds": _GRACE.get(platform, "."),
        "max_restarts": "; it starts no job again: az ml job create --name=OTHER with the same file goes on.",
    }.get(name, ".")


def check_platform(platform: str) -> list[str]:
    """Returns a line where `platform` is none."""
    known = [*targets.TARGETS, "estimate"]
    if platform in known:
        return []
    nearest = difflib.get_close_matches(platform, known, n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else "."
    return [f"platform {platform} must be one of {', '.join(known)}{hint}"]


def help_text() -> str:
    """Returns what --help prints: the options and an example for each platform."""
    lines = [
        "Writes the job files of a run: python -m dqn_tf.jobs PLATFORM [options] [flags of train.py]",
        "",
        f"PLATFORM: {', '.join(targets.TARGETS)}; or estimate, which tells what a run will cost (estimate --help).",
        "Nothing is submitted without --submit. Where the run is kept is said by --storage, how it is spread by",
        "--workers and --gpus; all other flags of train.py mean what they mean there, --config=FILE among them.",
        "",
    ]
    everywhere = frozenset.intersection(*(target.options for target in targets.TARGETS.values()))
    for name, option in OPTIONS.items():
        takers = [target.title for target in targets.TARGETS.values() if name in target.options]
        text = option.help + (f" [default: {option.default}]" if option.default not in ("", None, False) else "")
        text += "" if name in everywhere else f" ({', '.join(takers)})"
        lines += [f"  --{name}", *(f"      {line}" for line in textwrap.wrap(text, width=92))]
    lines += ["", "Storage and an example:"]
    for platform, target in targets.TARGETS.items():
        lines.append(f"  {platform}: {target.storage}, such as {target.storage_example}")
        lines.append(f"      python -m dqn_tf.jobs {platform} {target.example}")
    return "\n".join(lines)
