"""Whether the replay's images are in this process's memory or in that of the GPUs that learn."""

import functools
import logging
import os

import numpy as np

from dqn_tf.config.schema import Config, ConfigError
from dqn_tf.distribution import strategy
from dqn_tf.distribution.device_replay import DeviceFrames, DeviceReplay
from dqn_tf.distribution.strategy import Placement
from dqn_tf.environment.spec import EnvironmentSpec
from dqn_tf.experience import frame_replay
from dqn_tf.experience.replay import Replay
from dqn_tf.process import gpus
from dqn_tf.training import memory

_log = logging.getLogger(__name__)

_NOT_DETERMINISTIC = "TensorFlow writes single images to a GPU slowly where all has to be deterministic"
_LEARNER_NBYTES = 2_000_000_000  # of a GPU, or a quarter of it: weights, activations, what its libraries work with


def make(
    config: Config,
    spec: EnvironmentSpec,
    placement: Placement,
    num_local_workers: int,
    generator: np.random.Generator,
) -> Replay:
    """Returns the empty replay of this worker, and logs where its images are, and why. All workers must call it.

    Args:
      num_local_workers: workers on this machine, which share the host's memory.
    Raises:
      ConfigError: on all workers, if --replay_device=gpu asks one for what it has not, or the host's memory does not
        suffice either.
    """
    made, problems = None, _mistakes(config, spec, placement)
    if not problems and memory.may_be_on_gpu(config, spec, bool(placement.gpus)):
        made, problems = _on_gpus(config, spec, placement, generator)
        if problems and config.hardware.replay_device == "auto":
            _log.warning("replay: in the host's memory, because %s", problems[0])
            problems = []
    elif not problems and placement.gpus:
        why = _NOT_DETERMINISTIC if memory.are_images(spec) else "observations are no images"
        why = why if config.hardware.replay_device == "auto" else "--replay_device=host"
        _log.info("replay: in the host's memory, because %s", why)
    if not problems and made is None and memory.may_be_on_gpu(config, spec, bool(gpus.visible_gpus(os.environ))):
        problems = memory.check_replay(config, spec, placement.num_workers, num_local_workers)
    told = [text for text in placement.exchange("\n".join(problems)) if text]
    if told:
        raise ConfigError(*told[0].split("\n"))
    if made is None:
        made = memory.make_replay(config, spec, placement.num_workers, generator)
    return made


def _mistakes(config, spec, placement):
    if config.hardware.replay_device != "gpu":
        return []
    if config.hardware.deterministic:
        return [f"--replay_device=gpu with --deterministic: {_NOT_DETERMINISTIC}; leave one of them out."]
    if placement.gpus and memory.are_images(spec):
        return []
    lacks = "observations of uint8 with 2 or 3 axes" if placement.gpus else "a GPU, and TensorFlow sees none"
    return [f"--replay_device=gpu needs {lacks}; leave it out."]


def _on_gpus(config, spec, placement, generator):
    """Returns the replay and no problems, or None and why it is not there."""
    devices, num_workers = placement.gpus, placement.num_workers
    nbytes = frame_replay.frame_nbytes(spec.observation_shape, spec.observation_dtype)
    counts = (count // num_workers for count in (config.training.replay_capacity, memory.num_held(config)))
    num_slots = frame_replay.expected_slots(*counts)
    needed = num_slots * nbytes
    num_slots += frame_replay.CHUNK_NBYTES // nbytes + 1
    free = min(filter(None, map(strategy.free_memory, devices)), default=None)
    if free is not None:
        available = max(free - max(_LEARNER_NBYTES, free // 4), free // 4) - frame_replay.CHUNK_NBYTES
        if needed > available:
            return None, memory.does_not_fit(config, num_workers, needed, available, "of a GPU's memory")

    make_frames = functools.partial(DeviceFrames, devices=devices, num_slots=num_slots)
    create = functools.partial(DeviceReplay, make_frames=make_frames)
    try:
        made = memory.make_replay(config, spec, num_workers, generator, create)
    except ConfigError as error:
        return None, list(error.problems)
    where = " and ".join(devices)
    _log.info("replay: %.1f GB on %s, because --replay_device=%s", needed / 1e9, where, config.hardware.replay_device)
    return made, []
