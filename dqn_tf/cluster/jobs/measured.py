"""How long a run takes, from what was measured and the model of docs/scaling.md. Without TensorFlow."""

import dataclasses
import re
from collections.abc import Mapping

from dqn_tf.cluster import scaling_model
from dqn_tf.cluster.jobs import prices
from dqn_tf.cluster.scaling_model import Line
from dqn_tf.config import Config, ConfigError

NETWORKS = tuple(scaling_model.MESSAGES)
VCPUS = 4  # the figures are of two cores, and a virtual CPU is half a core


@dataclasses.dataclass(frozen=True)
class Measured:
    """Figures of a machine; those by network are {network: figure}.

    Attributes:
      about: date, cpu, command and the like.
      single: seconds of an update of x transitions, of a process that is alone.
      alone: the same as a worker computes it, which an all-reduce keeps from being compiled.
      step: seconds of a step of the ring among the workers, and of each byte in it, on loopback.
      beyond_model: the most by which updates of several workers were slower than the model has them.
      acting: env steps a second where there is next to nothing to learn, of one worker.
      start_seconds: from the command to the first update.
      memory_gb: of a worker, without and for each transition that it keeps.
    """

    about: Mapping[str, str]
    single: Mapping[str, Line]
    alone: Mapping[str, Line]
    step: Line
    beyond_model: Mapping[str, float]
    acting: Mapping[str, float]
    start_seconds: float
    memory_gb: Mapping[str, Line]


def load(path: str = "") -> Measured:
    """Returns the figures of a file, "" for the program's own; --json of benchmarks/scaling.py writes such a file.

    What such a file does not measure (beyond_model, acting, start_seconds, memory_gb) is the program's own. Raises
    ConfigError with one line.
    """
    said = f"--measured={path}" if path else "the program's measured.json"
    tree = prices.read_json(path, said, "measured.json")
    own = prices.read_json("", "the program's measured.json", "measured.json")
    about = tree.get("about")
    if not isinstance(about, dict) or not about.get("date"):
        raise ConfigError(f"{said}: about.date is missing: when was it measured?")
    tree = {**{name: own[name] for name in ("beyond_model", "acting", "start_seconds", "memory_gb")}, **tree}
    figures = {}
    for name in ("single", "alone", "memory_gb"):
        figures[name] = {network: _line(said, tree, name, network) for network in NETWORKS}
    for name, least in (("beyond_model", 1.0), ("acting", 1e-9)):
        figures[name] = {network: _number(said, tree, least, name, network) for network in NETWORKS}
    return Measured(
        about={str(name): str(value) for name, value in about.items()},
        step=_line(said, tree, "step"),
        start_seconds=_number(said, tree, 0.0, "start_seconds"),
        **figures,
    )


def _entry(said, tree, path):
    for name in path:
        if not isinstance(tree, dict) or name not in tree:
            raise ConfigError(f"{said}: {', '.join(path)} is missing.")
        tree = tree[name]
    return tree


def _line(said, tree, *path):
    value = _entry(said, tree, path)
    is_pair = isinstance(value, list) and len(value) == 2 and all(map(prices.is_number, value))
    if not is_pair or sum(value) == 0:
        allowed = "[fixed, per unit], two numbers of at least 0 and not both 0"
        raise ConfigError(f"{said}: {', '.join(path)}={value!r} must be {allowed}.")
    return Line(*value)


def _number(said, tree, least, *path):
    value = _entry(said, tree, path)
    if not prices.is_number(value, least):
        raise ConfigError(f"{said}: {', '.join(path)}={value!r} must be a number of at least {least:g}.")
    return float(value)


def network_of(config: Config) -> str:
    """Returns which of the measured networks a run's is, or is taken for."""
    is_atari = re.match("(ale_py:)?ALE/", config.run.env) is not None
    is_cnn = config.network.network == "nature_cnn" or config.network.network == "auto" and is_atari
    return NETWORKS[0] if is_cnn else NETWORKS[1]


def differences(config: Config) -> list[str]:
    """Returns the flags of a run that make its updates other ones than those measured."""
    found = []
    if network_of(config) == NETWORKS[1] and config.network.hidden_units != (128, 128):
        found.append(f"--hidden_units={','.join(map(str, config.network.hidden_units))}")
    if config.agent.average_period:
        found.append(f"--average_period={config.agent.average_period}")
    for name, value in (("wire_precision", config.agent.wire_precision), ("precision", config.hardware.precision)):
        if value != "float32":
            found.append(f"--{name}={value}")
    return found


def at_rate(measured: Measured, config: Config, updates_per_second: float) -> Measured:
    """Returns the figures scaled to a rate of updates of the run's batch that one worker was seen to make.

    What an update costs whatever its batch, and what each transition adds, keep the proportion that was measured.
    """
    network = network_of(config)
    factor = 1 / (updates_per_second * measured.single[network].at(config.training.batch_size))
    scaled = {
        name: {**lines, network: Line(*(factor * part for part in lines[network]))}
        for name, lines in (("single", measured.single), ("alone", measured.alone))
    }
    return dataclasses.replace(measured, **scaled)


def update_seconds(measured: Measured, config: Config, workers: int, gigabits: float, latency_us: float) -> float:
    """Returns the seconds of an update whose batch `workers` share, each on a machine of its own."""
    network, batch = network_of(config), config.training.batch_size
    if workers == 1:
        return measured.single[network].at(batch)
    message = scaling_model.MESSAGES[network]
    step = scaling_model.on_network(measured.step, gigabits, latency_us)
    collective = scaling_model.ring_seconds(step, workers, message.num_bytes(batch, workers))
    work = message.work(measured.alone[network], batch / workers, batch)
    return measured.beyond_model[network] * (work + collective)


def hours(measured: Measured, config: Config, workers: int, gigabits: float = 10, latency_us: float = 50) -> float:
    """Returns the hours of a run: its start, the env steps before the first update, and the rounds.

    A round takes as long as the slower of acting and learning, or as both with --overlap=false. Acting is taken to
    become no faster with more workers, whose environments are fewer each.
    """
    training = config.training
    acting = 1 / measured.acting[network_of(config)]
    learning = training.replay_ratio * update_seconds(measured, config, workers, gigabits, latency_us)
    each = max(acting, learning) if training.overlap else acting + learning
    before = min(training.learning_starts, training.train_env_steps)
    return (measured.start_seconds + before * acting + (training.train_env_steps - before) * each) / 3600


def memory_gb(measured: Measured, config: Config, workers: int) -> float:
    """Returns the main memory that a worker needs."""
    kept = min(config.training.replay_capacity, config.training.train_env_steps)
    return measured.memory_gb[network_of(config)].at(kept / workers)
