"""The options of a job beside the flags of its run: a command line becomes typed values. Without TensorFlow."""

import dataclasses
import difflib
from collections.abc import Sequence

from dqn_tf.config import settings
from dqn_tf.config import words as words_lib
from dqn_tf.config.schema import field
from dqn_tf.jobs import targets
from dqn_tf.jobs.targets import Target

_LABEL = r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?"
_LABEL_WORDS = "at most 50 lower-case letters, digits and dashes, from a letter on, not up to a dash"
_WORD = r"([\w.@:/+=-]*[\w])?"
_RESTARTS = (
    "restarts after failures that are not the user's mistake; Kubernetes, Kubeflow TFJob: without those after exit "
    "code 143, which --max_hours ends; SageMaker: after its own failures only; Vertex AI: 0 for none, else as many as "
    "it chooses"
)


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of all platforms; a platform takes those that its Target names."""

    workers: int = field(1, "machines that train together", minimum=1, maximum=512)
    machine: str = field("", "machine type of each worker", pattern=_WORD, words="the name of a machine type")
    region: str = field("", "region, as the platform names it", pattern=_WORD, words="the name of a region")
    gpus: int = field(0, "GPUs of each machine that are used", minimum=0, maximum=64)
    gpu_type: str = field("", "type of these GPUs, such as NVIDIA_L4", pattern=_WORD, words="the name of a GPU")
    cores: int = field(2, "cores that each worker asks for", minimum=1, maximum=1024)
    image: str = field(
        "",
        "container image whose entry point is train.py, see deploy/Dockerfile",
        pattern=_WORD,
        words="a container image",
    )
    storage: str = field("", "where checkpoints and results are kept")
    spot: bool = field(False, "on machines that may be taken away, at a lower price")
    evaluator: bool = field(False, "one more task that evaluates the checkpoints beside the training")
    tensorboard: str = field("", "the platform's TensorBoard instance", pattern=_WORD, words="the name of an instance")
    identity: str = field(
        "",
        "service account or role the job runs as; Slurm: the account charged",
        pattern=_WORD,
        words="the name of an account or a role",
    )
    partition: str = field("", "partition to run in", pattern=r"[\w.,-]*", words="names of partitions")
    name: str = field("", "name of the job; empty: dqn-<env>", pattern=f"({_LABEL})?", words=_LABEL_WORDS)
    max_hours: float = field(
        24.0, "the job is ended after this time; Slurm: each start of it", unit="h", minimum=0.02, maximum=8784
    )
    max_restarts: int = field(3, _RESTARTS, minimum=0, maximum=100)
    grace_seconds: int = field(
        120,
        "between SIGTERM and SIGKILL, in which a checkpoint is written; the other platforms choose it themselves",
        unit="s",
        minimum=1,
        maximum=3600,
    )
    output: str = field("", "directory of the files; empty: jobs/<platform>/<name>", unit="path")
    submit: bool = field(False, "submit the job too; without it nothing leaves this machine")


OPTIONS = settings.of(Options)


def parse(platform: str, words: Sequence[str]) -> tuple[Options, list[str], list[str]]:
    """Returns the options, the words that are none, and one line for each mistake.

    An option that is mistaken has its default.
    """
    target = targets.TARGETS[platform]
    values, rest, problems = words_lib.parse(OPTIONS, words)
    for name in values.keys() - target.options:
        del values[name]
        problems.append(f"--{name} is not an option of {target.title}{target.instead(name)}")
    mistaken = {line.split("=")[0].split(" ")[0] for line in problems}
    for name in target.required:
        if not values.get(name) and f"--{name}" not in mistaken:
            problems.append(f"--{name} is missing for {target.title}: {_help(target, name)}.")
    given = values.get("storage", "")
    values["storage"] = given.rstrip("/") or given
    if given and not target.takes(values["storage"]):
        problems.append(
            f"--storage={given} must be {target.storage} for {target.title}, such as {target.storage_example}."
        )
    if target.restarts and values.get("max_restarts", 0) > target.restarts[0]:
        problems.append(f"--max_restarts={values.pop('max_restarts')} must be {target.restarts[1]}.")
    return Options(**values), rest, problems


def to_words(options: Options) -> list[str]:
    """Returns those of the options that are not defaults as they are typed, without --output and --submit."""
    return [
        f"--{name}={getattr(options, name)}"
        for name, setting in OPTIONS.items()
        if name not in ("output", "submit") and getattr(options, name) != setting.field.default
    ]


def _help(target: Target, name: str) -> str:
    """Returns what an option means on a platform."""
    if name == "identity":
        return target.identity
    text = OPTIONS[name].field.metadata["help"]
    return f"{text}, {target.storage}, such as {target.storage_example}" if name == "storage" else text


def check_platform(platform: str) -> list[str]:
    """Returns a line if there is no such platform."""
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
        f"PLATFORM: {', '.join(targets.TARGETS)}; or estimate, which says what a run will cost (estimate --help).",
        "Nothing is submitted without --submit. --storage says where the run is kept, --workers and --gpus how many",
        "machines and GPUs it has. All other flags of train.py mean what they mean there, --config=FILE among them.",
        "",
    ]
    everywhere = frozenset.intersection(*(target.options for target in targets.TARGETS.values()))
    for name, setting in OPTIONS.items():
        takers = [target.title for target in targets.TARGETS.values() if name in target.options]
        lines += words_lib.describe(setting, "" if name in everywhere else f" ({', '.join(takers)})")
    lines += ["", "Storage and an example:"]
    for platform, target in targets.TARGETS.items():
        lines.append(f"  {platform}: {target.storage}, such as {target.storage_example}")
        lines.append(f"      python -m dqn_tf.jobs {platform} {target.example}")
    return "\n".join(lines)
