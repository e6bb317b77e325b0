"""How long a run takes, from measured.json and the model of docs/scaling.md. Without TensorFlow."""

import dataclasses
import pathlib
from collections.abc import Mapping

from dqn_tf.config import files
from dqn_tf.config.schema import Config, ConfigError, is_atari
from dqn_tf.jobs.cost.scaling_model import MESSAGES, Line, on_network, ring_seconds

VCPUS = 4  # two cores were measured, and a virtual CPU is half a core


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured, by network or environment; `about` says when and how."""

    about: Mapping[str, str]
    single: Mapping[str, Line]  # seconds of an update of x transitions, of a process that is alone
    alone: Mapping[str, Line]  # the same as a worker computes it: the all-reduce keeps it from being compiled
    step: Line  # seconds of a step of the ring among the workers, of x bytes, on loopback
    beyond_model: Mapping[str, float]  # the most by which updates of several workers were slower than in the model
    acting: Mapping[str, float]  # env steps a second of one worker that learns next to nothing
    start_seconds: float  # from the command to the first update
    memory_gb: Mapping[str, Line]  # of a worker that keeps x transitions
    update_factor: float = 1.0  # of the time that this run's updates take


def load() -> Measured:
    """Returns what is in measured.json."""
    tree = files.read_object(pathlib.Path(__file__).with_name("measured.json"))
    for name in ("single", "alone", "memory_gb"):
        tree[name] = {key: Line(*pair) for key, pair in tree[name].items()}
    return Measured(**{**tree, "step": Line(*tree["step"])})


def kind_of(config: Config) -> tuple[str, str]:
    """Returns which of the measured networks and environments a run's are, or are taken for."""
    environment = "Atari" if is_atari(config.run.env) else "CartPole-v1"
    is_cnn = config.network.network == "nature_cnn" or config.network.network == "auto" and environment == "Atari"
    return "Nature CNN" if is_cnn else "128-128 MLP", environment


def of_run(config: Config, updates: float | None, summary: str) -> tuple[Measured, str]:
    """Returns the figures for a run, and in words whose speed they have: as measured, given, or of a summary.json.

    The two parts of an update's time, fixed and for each transition, keep the proportion that was measured.
    """
    figures, (network, environment) = load(), kind_of(config)
    factor, env_steps = 1.0, figures.acting[environment]
    said = f"one CPU core, {network}, {environment}, {figures.about['date']}; give --summary=FILE if yours is another"
    if summary:
        updates, env_steps = _speed_of_summary(summary, config)
    if updates:
        said = f"{updates:.4g} updates/s and {env_steps:.4g} env steps/s of one worker"
        factor = 1 / (updates * figures.single[network].at(config.training.batch_size))
    return dataclasses.replace(figures, update_factor=factor, acting={environment: env_steps}), said


def _speed_of_summary(path, config):
    """Returns updates and env steps a second of a finished run, without the time in which one waited for the other."""
    try:
        tree = files.read_object(path)
        updates = tree["updates_per_second"] / (1 - (tree["learner_wait_share"] or 0))
        env_steps = tree["env_steps_per_second"] / (1 - (tree["actor_wait_share"] or 0))
        is_right = (tree["num_workers"], tree["env"]) == (1, config.run.env)
        if not is_right or updates < 0 or not 1e-9 < updates * env_steps < 1e15:
            raise ValueError
    except OSError as error:
        raise ConfigError(f"--summary={path} cannot be read: {error.strerror}.") from None
    except (KeyError, TypeError, ValueError, ArithmeticError):
        raise ConfigError(f"--summary={path} is of no finished run of one worker on {config.run.env}.") from None
    return updates, env_steps


def update_seconds(measured: Measured, config: Config, workers: int, gigabits: float, latency_us: float) -> float:
    """Returns the seconds of an update whose batch `workers` share, each on a machine of its own."""
    (network, _), batch = kind_of(config), config.training.batch_size
    if workers == 1:
        return measured.update_factor * measured.single[network].at(batch)
    message = MESSAGES[network]
    step = on_network(measured.step, gigabits, latency_us)
    work = measured.update_factor * message.work(measured.alone[network], batch / workers, batch)
    return measured.beyond_model[network] * (work + ring_seconds(step, workers, message.num_bytes(batch, workers)))


def hours(measured: Measured, config: Config, workers: int, gigabits: float = 10, latency_us: float = 50) -> float:
    """Returns the hours of a run: its start, the env steps before the first update, and the rounds.

    A round takes as long as the slower of acting and learning, or as both with --overlap=false. Acting is not faster
    with more workers: each has fewer environments.
    """
    training = config.training
    acting = 1 / measured.acting[kind_of(config)[1]]
    learning = training.replay_ratio * update_seconds(measured, config, workers, gigabits, latency_us)
    each = max(acting, learning) if training.overlap else acting + learning
    before = min(training.learning_starts, training.train_env_steps)
    return (measured.start_seconds + before * acting + (training.train_env_steps - before) * each) / 3600


def memory_gb(measured: Measured, config: Config, workers: int) -> float:
    """Returns the main memory that a worker needs."""
    num_kept = min(config.training.replay_capacity, config.training.train_env_steps)
    return measured.memory_gb[kind_of(config)[1]].at(num_kept / workers)
