"""Where the images of the replay are kept, and what is said of it. No GPU is needed: the CPU stands for one."""

import logging

import numpy as np
import pytest

from dqn_tf.config import schema, settings
from dqn_tf.distribution import strategy
from dqn_tf.distribution.device_replay import DeviceReplay
from dqn_tf.experience.frame_replay import FrameReplay
from dqn_tf.experience.replay import Replay
from dqn_tf.process import hardware
from dqn_tf.training import replay_memory
from tests import making

IMAGES, VECTORS = making.spec((84, 84, 4), np.uint8, 3, 255), making.spec((4,), np.float32, 2)
# A frame of 84 x 84 bytes for each of 1000 transitions and 1 % more.
NUM_SLOTS, NBYTES = 1010, 1010 * 7056


@pytest.fixture
def make(placement, monkeypatch, caplog):
    """Returns a function that makes the replay of a machine, and what was said."""

    def make(spec=IMAGES, devices=("CPU:0",), free=10**10, host=10**12, **values):
        config = settings.build({"replay_capacity": 1000, "train_env_steps": 10_000, **values})
        monkeypatch.setattr(strategy.Placement, "gpus", property(lambda self: list(devices)))
        monkeypatch.setattr(strategy, "free_memory", lambda device: free)
        monkeypatch.setattr(hardware, "available_memory", lambda: host)
        monkeypatch.setattr(logging.getLogger("dqn_tf"), "propagate", True)  # console.set_up turns it off
        caplog.clear()
        with caplog.at_level("INFO", logger=replay_memory._log.name):
            made = replay_memory.make(config, spec, placement, np.random.default_rng(0))
        return type(made), [record.getMessage() for record in caplog.records if record.name == replay_memory._log.name]

    return make


def test_images_are_on_the_gpu_that_learns_where_there_is_one(make):
    assert make(replay_device="gpu") == (DeviceReplay, ["replay: 0.0 GB on CPU:0, because --replay_device=gpu"])
    assert make()[0] == DeviceReplay
    assert make(free=None)[0] == DeviceReplay
    assert make(devices=()) == (FrameReplay, [])


def test_images_are_on_the_host_if_that_is_asked_for_and_vectors_always(make):
    assert make(replay_device="host") == (FrameReplay, ["replay: in the host's memory, because --replay_device=host"])
    assert make(VECTORS) == (Replay, ["replay: in the host's memory, because vectors are small"])


@pytest.mark.parametrize("lacking", [1, 5])
def test_images_that_do_not_fit_on_the_gpu_are_on_the_host_and_the_capacity_that_fits_is_told(make, lacking):
    free = (NBYTES // lacking - 1) * 4  # a quarter at least is the replay's
    kind, lines = make(free=free)
    assert kind == FrameReplay
    assert lines[0].startswith("replay: in the host's memory, because --replay_capacity=1000 needs 0.0 GB of a GPU's ")
    fits = int(lines[0].split("--replay_capacity=")[-1].split()[0])
    assert make(free=free, replay_capacity=fits, replay_device="gpu")[0] == DeviceReplay
    with pytest.raises(schema.ConfigError) as error:
        make(free=free, replay_device="gpu")
    assert list(error.value.problems) == [lines[0].removeprefix("replay: in the host's memory, because ")]


def test_images_that_fit_nowhere_are_refused(make):
    with pytest.raises(schema.ConfigError, match="--replay_capacity=1000 needs 0.0 GB of memory"):
        make(free=NBYTES, host=NBYTES)


def test_replay_device_gpu_is_refused_where_it_means_nothing(make):
    with pytest.raises(schema.ConfigError) as error:
        make(devices=(), replay_device="gpu")
    assert str(error.value) == "--replay_device=gpu needs a GPU, and TensorFlow sees none; leave it out."
    with pytest.raises(schema.ConfigError, match="needs observations of uint8 with 2 or 3 axes"):
        make(VECTORS, replay_device="gpu")
