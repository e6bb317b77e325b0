"""Whether the replay's images are in this process's memory or in that of the GPUs that learn."""

import logging

import numpy as np

from dqn_tf.config.schema import Config, ConfigError
from dqn_tf.distribution import strategy
from dqn_tf.distribution.device_replay import DeviceReplay
from dqn_tf.distribution.strategy import Placement
from dqn_tf.environment.spec import EnvironmentSpec
from dqn_tf.experience import frame_replay
from dqn_tf.experience.replay import Replay
from dqn_tf.process import hardware
from dqn_tf.training import memory

_log = logging.getLogger(__name__)

_LEARNER_NBYTES = 2_000_000_000  # of a GPU: weights, activations, and what its libraries work with


def make(config: Config, spec: EnvironmentSpec, placement: Placement, generator: np.random.Generator) -> Replay:
    """Returns the empty replay of this worker, and logs where its images are, and why.

    Raises:
      ConfigError: --replay_device=gpu asks for what there is not, or the host's memory does not suffice either.
    """
    asked, devices = config.hardware.replay_device, placement.gpus
    are_images = frame_replay.kind(spec.observation_shape, spec.observation_dtype) is frame_replay.FrameReplay
    if asked == "gpu" and not (devices and are_images):
        lacks = "observations of uint8 with 2 or 3 axes" if devices else "a GPU, and TensorFlow sees none"
        raise ConfigError(f"--replay_device=gpu needs {lacks}; leave it out.")
    if asked == "host" or not devices or not are_images:
        if devices:
            why = "--replay_device=host" if asked == "host" else "vectors are small"
            _log.info("replay: in the host's memory, because %s", why)
        return memory.make_replay(config, spec, placement.num_workers, generator)
    capacity = memory.num_held(config) // placement.num_workers
    num_slots = frame_replay.expected_slots(capacity)
    needed = num_slots * frame_replay.frame_nbytes(spec.observation_shape, spec.observation_dtype)
    available = min(filter(None, map(strategy.free_memory, devices)), default=None)
    problems = []
    if available is not None and needed > (available := max(available - _LEARNER_NBYTES, available // 4)):
        problems = memory.does_not_fit(config, placement.num_workers, needed, available, "of a GPU's memory")
    else:
        try:
            made = memory.make_replay(config, spec, placement.num_workers, generator, _on(devices, num_slots))
            _log.info("replay: %.1f GB on %s, because --replay_device=%s", needed / 1e9, " and ".join(devices), asked)
            return made
        except ConfigError as error:
            problems = error.problems
    if asked == "gpu":
        raise ConfigError(*problems)
    _log.warning("replay: in the host's memory, because %s", problems[0])
    free = hardware.available_memory()
    problems = memory.check_replay(config, spec, placement.num_workers, 1, free) if free is not None else []
    if problems:
        raise ConfigError(*problems)
    return memory.make_replay(config, spec, placement.num_workers, generator)


def _on(devices, num_slots):
    def create(*args):
        return DeviceReplay(*args, devices=devices, num_slots=num_slots)

    return create
