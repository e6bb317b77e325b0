"""Options and flags become a Job: every mistake that can be known before the job is submitted. Without TensorFlow."""

import math
import re
import shlex
from collections.abc import Sequence

from dqn_tf.config import flags
from dqn_tf.config import schema as config_lib
from dqn_tf.config import settings
from dqn_tf.config.schema import Config, ConfigError
from dqn_tf.environment import factory
from dqn_tf.jobs import options, targets
from dqn_tf.jobs.cost import measured, prices
from dqn_tf.jobs.job import Job

# Settings of the run that the job decides: what they say, and what to give instead.
_SPREAD, _PLACE = "how a run is spread", "where a run is kept"
_DECIDED = {
    "strategy": (_SPREAD, "leave it out; --workers and --gpus decide the strategy."),
    "num_workers": (_SPREAD, "give --workers=N."),
    "num_replicas": (_SPREAD, "give --gpus=N; every GPU is a replica."),
    "tf_config": (_SPREAD, "leave it out; the platform tells every worker of its peers."),
    "evaluated_by": ("who evaluates the run", "give --evaluator, or leave it out for the chief."),
    "task_type": ("which task a process is", "leave it out; the platform tells every worker which one it is."),
    "task_index": ("which task a process is", "leave it out; the platform tells every worker which one it is."),
    "logdir": (_PLACE, "give --storage=...; the run is kept in its directory <name>."),
    "resume": (
        "whether a run goes on",
        "leave it out; a job that starts again goes on from its last checkpoint, and another --name is a new run.",
    ),
}
_CORES = 2  # one for the updates, one for acting
_LEAST_GIB = 2
_CUDA_GIB = 2  # an allowance for NVIDIA's libraries, which measured.json knows nothing of
_NOT_FLAGS = {*_DECIDED, "env", "preset", "max_restarts"}  # env and preset come first


def canonical(config: Config) -> tuple[str, ...]:
    """Returns the flags, --name=value each, that make `config` in a place without its --config file.

    Environment, preset, and each setting that these two do not give. Strategy, workers, replicas and restarts of a
    local cluster are left out: the job decides these.
    """
    named = [f"--env={config.run.env}", f"--preset={config.run.preset}"]
    plain, _ = flags.parse(["train.py", *named])
    for setting in settings.SETTINGS.values():
        value = getattr(getattr(config, setting.section), setting.name)
        if setting.is_stored and setting.name not in _NOT_FLAGS:
            if value != getattr(getattr(plain, setting.section), setting.name):
                # Text that Python and SageMaker's containers write for a boolean.
                named.append(f"--{setting.name}={value if isinstance(value, bool) else settings.to_text(value)}")
    return tuple(named)


def default_name(env: str) -> str:
    """Returns the name of a job that is given none, a DNS label."""
    return re.sub("[^a-z0-9]+", "-", f"dqn-{env.lower()}")[:50].strip("-")


def choose_strategy(workers: int, gpus: int) -> str:
    """Returns the strategy of a job of `workers` machines with `gpus` GPUs each."""
    if workers > 1:
        return "multiworker"
    return "mirrored" if gpus > 1 else "default"


def make(platform: str, words: Sequence[str]) -> tuple[Job, dict]:
    """Returns the Job of a command line without the program and the platform, and the values of its options.

    Raises:
      ConfigError: with every mistake, in the options and in the run's flags.
    """
    chosen, rest, problems = options.parse(platform, words)
    problems += _decided(rest)
    config, wrong = flags.parse(["train.py", *rest], sorted(targets.TARGETS[platform].options))
    problems += wrong
    try:
        factory.check_name(config.run.env)
    except ConfigError as error:
        problems += error.problems
    machine = None
    try:
        machine = _machine(platform, chosen)
        gpus = _gpus(platform, chosen["gpus"], machine)
    except ConfigError as error:
        problems += error.problems
        gpus = chosen["gpus"] or 0
    workers = chosen["workers"]
    mistaken = {line.split("=")[0] for line in problems}  # their values are not those given
    if not mistaken & {"--workers", "--gpus", "--machine", "--region"}:
        indivisible = config_lib.check_division(config, workers, max(1, gpus))
        problems += [line for line in indivisible if line.split("=")[0] not in mistaken]
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    named = canonical(config)
    job = Job(
        name=chosen["name"] or default_name(config.run.env),
        flags=named,
        strategy=choose_strategy(workers, gpus),
        workers=workers,
        gpus=gpus,
        machine=machine,
        region=chosen["region"],
        image=chosen["image"],
        storage=chosen["storage"],
        spot=chosen["spot"],
        evaluator=chosen["evaluator"],
        tensorboard=chosen["tensorboard"],
        identity=chosen["identity"],
        max_seconds=round(chosen["max_hours"] * 3600),
        max_restarts=chosen["max_restarts"],
        grace_seconds=chosen["grace_seconds"],
        cores=chosen["cores"] or _CORES,
        memory_gib=_memory_gib(config, workers, gpus),
        partition=chosen["partition"],
        command=_command(platform, chosen, named),
    )
    return job, chosen


def _decided(words):
    """Returns a line for each word that is a flag which the job decides."""
    problems = []
    for word in words:
        name = flags.name_of(word)
        is_place = name in settings.SETTINGS and not settings.SETTINGS[name].is_stored and name != "config"
        if word.startswith("-") and (is_place or name in _DECIDED):
            says, advice = _DECIDED.get(name, (_PLACE, "leave it out."))
            problems.append(f"{word} says {says}, which the job decides: {advice}")
    return problems


def _memory_gib(config, workers, gpus):
    """Returns the main memory that each worker asks for."""
    needed = measured.memory_gb(measured.load(), config, workers) + (_CUDA_GIB if gpus else 0)
    return max(_LEAST_GIB, math.ceil(needed))


def _machine(platform, chosen):
    """Returns the machine of the price file, None where none is named."""
    name, region = chosen["machine"], chosen["region"]
    if name and chosen["cores"] and "cores" in targets.TARGETS[platform].options:
        raise ConfigError(f"--cores={chosen['cores']}: --machine={name} has its cores; leave one of the two out.")
    is_optional = "machine" not in targets.TARGETS[platform].required
    if not name or not region:
        if is_optional and (name or region):
            absent = "machine" if region else "region"
            raise ConfigError(f"--{absent} is missing: a machine of the price file has a type and a region; give both.")
        return None
    priced = "kubernetes" if platform == "tfjob" else platform
    return prices.find(prices.load(chosen["prices"]), priced, name, region)


def _gpus(platform, asked, machine):
    """Returns the GPUs of each worker."""
    if machine is None:
        return asked or 0
    is_included = machine.gpus > 0 and machine.gpu_usd_per_hour == 0
    if asked is None:
        return machine.gpus if is_included else 0
    if asked > machine.gpus:
        most = f"at most {machine.gpus}" if machine.gpus else "no GPU"
        raise ConfigError(f"--gpus={asked} is more than --machine={machine.name} has: {most}.")
    if is_included and asked != machine.gpus and "cores" not in targets.TARGETS[platform].options:
        raise ConfigError(
            f"--gpus={asked}: --machine={machine.name} comes with {machine.gpus}, and all are used; leave --gpus out, "
            "or take another machine."
        )
    return asked


def _command(platform, chosen, named):
    words = ["python", "-m", "dqn_tf.jobs", platform, *options.to_words(chosen), *named]
    return config_lib.one_line(shlex.join(words))
