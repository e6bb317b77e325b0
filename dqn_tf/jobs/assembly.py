"""Options and flags become a Job. Finds every mistake that can be known before the job is submitted.

Without TensorFlow.
"""

import dataclasses
import math
import re
import shlex
from collections.abc import Sequence

from dqn_tf.config import flags, presets
from dqn_tf.config import schema as config_lib
from dqn_tf.config import settings
from dqn_tf.config import words as words_lib
from dqn_tf.config.schema import Config, ConfigError
from dqn_tf.environment import factory
from dqn_tf.jobs import options as options_lib
from dqn_tf.jobs import targets
from dqn_tf.jobs.cost import measured
from dqn_tf.jobs.job import Job
from dqn_tf.jobs.options import Options

# Settings of the run that the job decides: what they say, and what to give instead.
_SPREAD, _PLACE = "how a run is spread", "where a run is kept"
_DECIDED = {
    "strategy": (_SPREAD, "leave it out; --workers and --gpus decide the strategy."),
    "num_workers": (_SPREAD, "give --workers=N."),
    "num_replicas": (_SPREAD, "give --gpus=N; every GPU is a replica."),
    "tf_config": (_SPREAD, "leave it out; the platform tells every worker who the others are."),
    "evaluated_by": ("who evaluates the run", "give --evaluator, or leave it out for the chief."),
    "task_type": ("which task a process is", "leave it out; the platform tells every worker which one it is."),
    "task_index": ("which task a process is", "leave it out; the platform tells every worker which one it is."),
    "logdir": (_PLACE, "give --storage=...; the run is kept in its directory <name>."),
    "resume": (
        "whether a run resumes",
        "leave it out; a job that starts again resumes from its last checkpoint, and another --name is a new run.",
    ),
}
_LEAST_GIB = 2
_CUDA_GIB = 2  # for NVIDIA's libraries, which measured.json does not have
_NOT_FLAGS = {*_DECIDED, "env", "preset", "max_restarts"}  # env and preset come first


def canonical(config: Config) -> tuple[str, ...]:
    """Returns the flags, --name=value each, that make `config` without its --config file.

    They are environment, preset, and each setting that these two do not give, or would give otherwise to a machine with
    a GPU. Strategy, workers, replicas and restarts of a local cluster are left out: the job decides these.
    """
    named = [f"--env={config.run.env}", f"--preset={config.run.preset}"]
    plain, _ = flags.parse(["train.py", *named])
    values, given = settings.values_of(config), settings.values_of(plain)
    depends = presets.of_gpu(config.run.preset, config.run.env)
    for name, value in values.items():
        if settings.SETTINGS[name].is_stored and name not in _NOT_FLAGS and (value != given[name] or name in depends):
            # Text that Python and SageMaker's containers write for a boolean.
            named.append(f"--{name}={value if isinstance(value, bool) else settings.to_text(value)}")
    return tuple(named)


def default_name(env: str) -> str:
    """Returns the name of a job without --name, a DNS label."""
    return re.sub("[^a-z0-9]+", "-", f"dqn-{env.lower()}")[:50].strip("-")


def choose_strategy(workers: int, gpus: int) -> str:
    """Returns the strategy of a job of `workers` machines with `gpus` GPUs each."""
    if workers > 1:
        return "multiworker"
    return "mirrored" if gpus > 1 else "default"


def make(platform: str, words: Sequence[str]) -> tuple[Job, Options]:
    """Returns the Job of a command line without the program and the platform, and its options.

    Raises:
      ConfigError: with every mistake, in the options and in the run's flags.
    """
    options, rest, problems = options_lib.parse(platform, words)
    problems += _decided(rest)
    config, wrong = flags.parse(["train.py", *rest], sorted(targets.TARGETS[platform].options), bool(options.gpus))
    problems += wrong
    try:
        factory.check_name(config.run.env)
    except ConfigError as error:
        problems += error.problems
    workers, gpus = options.workers, options.gpus
    mistaken = {line.split("=")[0] for line in problems}  # their values are not those given
    if not mistaken & {"--workers", "--gpus"}:
        indivisible = config_lib.check_division(config, workers, max(1, gpus))
        problems += [line for line in indivisible if line.split("=")[0] not in mistaken]
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    named = canonical(config)
    command = ["python", "-m", "dqn_tf.jobs", platform, *options_lib.to_words(options), *named]
    fields = {field.name for field in dataclasses.fields(Job)}
    same = {name: value for name, value in vars(options).items() if name in fields}
    job = Job(
        **{**same, "name": options.name or default_name(config.run.env)},
        flags=named,
        strategy=choose_strategy(workers, gpus),
        max_seconds=round(options.max_hours * 3600),
        memory_gib=_memory_gib(config, workers, gpus),
        command=config_lib.one_line(shlex.join(command)),
    )
    return job, options


def _decided(words):
    """Returns a line for each word that is a flag which the job decides."""
    problems = []
    for word in words:
        name = words_lib.name_of(word)
        is_place = name in settings.SETTINGS and not settings.SETTINGS[name].is_stored and name != "config"
        if word.startswith("-") and (is_place or name in _DECIDED):
            says, advice = _DECIDED.get(name, (_PLACE, "leave it out."))
            problems.append(f"{word} says {says}, which the job decides: {advice}")
    return problems


def _memory_gib(config, workers, gpus):
    """Returns the main memory that each worker asks for."""
    needed = measured.memory_gb(measured.load(), config, workers) + (_CUDA_GIB if gpus else 0)
    return max(_LEAST_GIB, math.ceil(needed))
