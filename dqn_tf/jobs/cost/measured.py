"""How long a run takes, from what was measured and the model of docs/scaling.md. Without TensorFlow."""

import dataclasses
import pathlib
import re
import reprlib
from collections.abc import Mapping

from dqn_tf.config.schema import Config, ConfigError
from dqn_tf.jobs.cost import prices, scaling_model
from dqn_tf.jobs.cost.scaling_model import Line

NETWORKS = tuple(scaling_model.MESSAGES)
ENVIRONMENTS = ("Atari", "CartPole-v1")  # each measured with the network of its place
# What an update is made of, as it is in a run's config.json.
_UPDATE = {"training": ("batch_size", "replay_ratio"), "network": ("network", "hidden_units")}
VCPUS = 4  # the figures are of two cores, and a virtual CPU is half a core


@dataclasses.dataclass(frozen=True)
class Measured:
    """Figures of a machine: {network: figure} of updates, {environment: figure} of what an environment costs.

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
    for name, keys in (("single", NETWORKS), ("alone", NETWORKS), ("memory_gb", ENVIRONMENTS)):
        figures[name] = {key: _line(said, tree, name, key) for key in keys}
    for name, keys, least in (("beyond_model", NETWORKS, 1.0), ("acting", ENVIRONMENTS, 1e-9)):
        figures[name] = {key: _number(said, tree, least, name, key) for key in keys}
    return Measured(
        about={prices.shown(name): prices.shown(value) for name, value in about.items()},
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
        allowed = f"[fixed, per unit], two numbers from 0 to {prices.MOST:g} and not both 0"
        raise ConfigError(f"{said}: {', '.join(path)}={reprlib.repr(value)} must be {allowed}.")
    return Line(*value)


def _number(said, tree, least, *path):
    value = _entry(said, tree, path)
    if not prices.is_number(value, least):
        allowed = f"a number from {least:g} to {prices.MOST:g}"
        raise ConfigError(f"{said}: {', '.join(path)}={reprlib.repr(value)} must be {allowed}.")
    return float(value)


def network_of(config: Config) -> str:
    """Returns which of the measured networks a run's is, or is taken for."""
    chosen = config.network.network
    is_cnn = chosen == "nature_cnn" or chosen == "auto" and environment_of(config) == ENVIRONMENTS[0]
    return NETWORKS[0] if is_cnn else NETWORKS[1]


def environment_of(config: Config) -> str:
    """Returns which of the measured environments a run's is, or is taken for."""
    return ENVIRONMENTS[0] if re.match("(ale_py:)?ALE/", config.run.env) else ENVIRONMENTS[1]


def differences(config: Config, is_update_known: bool = False, is_acting_known: bool = False) -> list[str]:
    """Returns the flags of a run that make it another one than those measured, and what it is then taken for.

    What is known of this run, the time of an update or of acting, is left out.
    """
    network, environment = network_of(config), environment_of(config)
    found = []
    if environment != ENVIRONMENTS[0] and config.run.env != environment:
        taken = ["acting"] * (not is_acting_known) + ["updates"] * (not is_update_known) + ["memory"]
        found.append(f"--env={config.run.env} ({', '.join(taken)} as of {environment})")
    if is_update_known:
        return found
    if NETWORKS.index(network) != ENVIRONMENTS.index(environment):
        found.append(f"--network={config.network.network} (updates as of {network} on other inputs)")
    if network == NETWORKS[1] and config.network.hidden_units != (128, 128):
        found.append(f"--hidden_units={','.join(map(str, config.network.hidden_units))}")
    if config.communication.average_period:
        found.append(f"--average_period={config.communication.average_period}")
    wire_precision, precision = config.communication.wire_precision, config.hardware.precision
    for name, value in (("wire_precision", wire_precision), ("precision", precision)):
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


def acting_at(measured: Measured, config: Config, env_steps_per_second: float) -> Measured:
    """Returns the figures with the rate at which one worker was seen to act."""
    return dataclasses.replace(measured, acting={**measured.acting, environment_of(config): env_steps_per_second})


def rates_of_summary(path: str, config: Config) -> tuple[float, float | None]:
    """Returns the updates a second of a run's learner and the env steps a second of its actor, None if unknown.

    Raises ConfigError with one line where the summary.json, or the config.json beside it, is of another run.
    """
    said = f"--summary={path}"
    tree = prices.read_json(path, said, "")
    names = ("updates_per_second", "env_steps_per_second", "learner_wait_share", "actor_wait_share")
    updates, env_steps, learner_waits, actor_waits = (tree.get(name) for name in names)
    if not prices.is_number(updates, 1e-9) or not isinstance(tree.get("env"), str):
        lacks = "env" if prices.is_number(updates, 1e-9) else "updates_per_second"
        raise ConfigError(f"{said} has no {lacks}: it is not the summary.json of a finished run.")
    env = prices.shown(tree["env"])
    if env.removeprefix("ale_py:") != config.run.env.removeprefix("ale_py:"):
        raise ConfigError(
            f"{said} is of a run on {env}, not on --env={config.run.env}; give --env={env}, or a run of this one."
        )
    if tree.get("num_workers", 1) != 1:
        raise ConfigError(f"{said} is of {prices.shown(tree['num_workers'])} workers; give that of a run of one.")
    _check_beside(path, config)
    known = prices.is_number(env_steps, 1e-9) and all(
        prices.is_number(share) and share < 1 for share in (learner_waits, actor_waits)
    )
    return (updates / (1 - learner_waits), env_steps / (1 - actor_waits)) if known else (updates, None)


def _check_beside(path, config):
    """Raises ConfigError where the run's config.json is there and has another network, batch or replay ratio."""
    beside = pathlib.Path(path).with_name("config.json")
    if not beside.exists():
        return
    tree = prices.read_json(str(beside), f"--summary={path}: {beside}, beside it,", "")
    was, asked = [], []
    for section, name in [(section, name) for section, names in _UPDATE.items() for name in names]:
        mine = getattr(getattr(config, section), name)
        mine = list(mine) if isinstance(mine, tuple) else mine
        leaves = tree.get(section)
        if isinstance(leaves, dict) and leaves.get(name, mine) != mine:
            was.append(_as_flag(name, leaves[name]))
            asked.append(_as_flag(name, mine))
    if was:
        raise ConfigError(
            f"--summary={path} is of a run with {' '.join(was)}, this one has {' '.join(asked)}; give the same flags."
        )


def _as_flag(name, value):
    text = ",".join(map(prices.shown, value)) if isinstance(value, list) else prices.shown(value)
    return f"--{name}={text}"


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
    acting = 1 / measured.acting[environment_of(config)]
    learning = training.replay_ratio * update_seconds(measured, config, workers, gigabits, latency_us)
    each = max(acting, learning) if training.overlap else acting + learning
    before = min(training.learning_starts, training.train_env_steps)
    return (measured.start_seconds + before * acting + (training.train_env_steps - before) * each) / 3600


def memory_gb(measured: Measured, config: Config, workers: int) -> float:
    """Returns the main memory that a worker needs."""
    kept = min(config.training.replay_capacity, config.training.train_env_steps)
    return measured.memory_gb[environment_of(config)].at(kept / workers)
