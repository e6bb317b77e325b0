"""What a run needs of this machine's memory, and whether that is there. Before TensorFlow is imported."""

from collections.abc import Callable

import numpy as np

from dqn_tf.agent.architecture import Architecture
from dqn_tf.config.schema import Config, ConfigError
from dqn_tf.environment.spec import EnvironmentSpec
from dqn_tf.experience import frame_replay, replay, sampling
from dqn_tf.process import hardware

_PROGRAM_NBYTES = 1_000_000_000  # of a process that trains the Nature network, without its replay
_WEIGHT_NBYTES = 4 * 6  # online, target and best network, two moments and a gradient


def check(
    config: Config,
    spec: EnvironmentSpec,
    architecture: Architecture,
    num_workers: int,
    num_local_workers: int,
    has_gpu: bool,
) -> list[str]:
    """Returns one line for each setting that asks for more memory than this machine has.

    Args:
      num_workers: of the run.
      num_local_workers: of these, on this machine.
      has_gpu: whether the images of the replay may be in a GPU's memory, which is asked when TensorFlow has started.
    """
    try:
        make_replay(config, spec, num_workers, np.random.default_rng(0))
    except ConfigError as error:
        return list(error.problems)
    available = hardware.available_memory()
    if available is None:
        return []
    problems = []
    if not may_be_on_gpu(config, spec, has_gpu):
        problems += check_replay(config, spec, num_workers, num_local_workers)
    for name, value, nbytes, what in (
        ("hidden_units", ",".join(map(str, config.network.hidden_units)), *_network(config, spec, architecture)),
        ("batch_size", config.training.batch_size, *_batches(config, spec, num_workers)),
    ):
        if (needed := nbytes * num_local_workers) > max(available, _PROGRAM_NBYTES):
            problems.append(
                f"--{name}={value} makes {what}, which need at least {needed / 1e9:,.1f} GB of memory, and "
                f"{available / 1e9:,.1f} GB are free; use less."
            )
    return problems


def make_replay(
    config: Config,
    spec: EnvironmentSpec,
    num_workers: int,
    generator: np.random.Generator,
    create: Callable[..., replay.Replay] | None = None,
) -> replay.Replay:
    """Returns an empty replay of one worker; its pages are taken as it fills. Raises ConfigError."""
    capacity = config.training.replay_capacity
    mine, shape, dtype = capacity // num_workers, spec.observation_shape, spec.observation_dtype
    try:
        sampler = sampling.Uniform()
        if config.replay.replay == "prioritized":
            sampler = sampling.Prioritized(mine, config.replay.priority_exponent)
        return (create or frame_replay.create)(mine, shape, dtype, generator, sampler, spec.mask_nbytes)
    except (MemoryError, ValueError) as error:  # NumPy says the latter of sizes that no machine has
        raise ConfigError(
            f"--replay_capacity={capacity} does not fit into memory: {error}; use less, this run adds "
            f"{_num_added(config.training)} transitions."
        ) from None


def _num_added(training):
    """Returns how many transitions all workers together add to their replays, at most."""
    return -(-training.train_env_steps // training.round_env_steps) * training.round_env_steps


def are_images(spec: EnvironmentSpec) -> bool:
    """Returns whether the replay tells planes of observations apart, and may keep them elsewhere."""
    return frame_replay.kind(spec.observation_shape, spec.observation_dtype) is frame_replay.FrameReplay


def may_be_on_gpu(config: Config, spec: EnvironmentSpec, has_gpu: bool) -> bool:
    """Returns whether the images of the replay go to a GPU if TensorFlow sees one and they fit."""
    is_asked = config.hardware.replay_device != "host" and not config.hardware.deterministic
    return has_gpu and is_asked and are_images(spec)


def check_replay(config: Config, spec: EnvironmentSpec, num_workers: int, num_local_workers: int) -> list[str]:
    """Returns the line of a replay that needs more memory than this machine has; see `check`."""
    available = hardware.available_memory()
    if available is None:
        return []
    kind = frame_replay.kind(spec.observation_shape, spec.observation_dtype)
    here = num_held(config) * num_local_workers // num_workers
    needed = kind.expected_nbytes(here, spec.observation_shape, spec.observation_dtype, spec.mask_nbytes)
    if config.replay.replay == "prioritized":
        needed += sampling.Prioritized.expected_nbytes(here)
    available = max(available - _PROGRAM_NBYTES * num_local_workers, available // 4)
    return does_not_fit(config, num_workers, needed, available, "of memory") if needed > available else []


def num_held(config: Config) -> int:
    """Returns how many transitions the replays of all workers come to hold."""
    return min(config.training.replay_capacity, _num_added(config.training))


def does_not_fit(config: Config, num_workers: int, needed: int, available: int, what: str) -> list[str]:
    """Returns the line of a replay that needs so many bytes, more than there are, with the capacity that fits."""
    training, held = config.training, num_held(config)
    fits = int(0.98 * held * available / needed)
    fits -= fits % max(10 ** (len(str(fits)) - 2), 1)  # two digits are enough
    fits -= fits % num_workers
    fitting = f"--replay_capacity={fits} fits" if fits >= training.round_env_steps else "no capacity fits"
    return [
        f"--replay_capacity={training.replay_capacity} needs {needed / 1e9:,.1f} GB {what} for {held} transitions "
        f"of {config.run.env}, and {available / 1e9:,.1f} GB are free for it; {fitting}."
    ]


def _network(config, spec, architecture):
    """Returns the bytes of a worker's networks, and what they are in words; 0 of those that are small."""
    num_weights = architecture.num_weights(spec, config) if architecture.num_weights else 0
    return _WEIGHT_NBYTES * num_weights, f"{num_weights} weights"


def _batches(config, spec, num_workers):
    """Returns the bytes of a worker's transitions of a round's updates, which are drawn at once, and their number."""
    training = config.training
    count = training.updates_per_round * training.batch_size
    row = spec.observation_shape, spec.observation_dtype, spec.mask_nbytes
    nbytes = replay.Replay.expected_nbytes(count // num_workers, *row)
    return nbytes, f"{count} transitions to learn from in a round"
