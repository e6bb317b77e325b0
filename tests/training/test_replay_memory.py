"""Where the images of the replay are kept, and what is said of it. No GPU is needed: the CPU stands for one."""

import logging

import numpy as np
import pytest

from dqn_tf.agent import architecture
from dqn_tf.config import schema, settings
from dqn_tf.distribution import strategy
from dqn_tf.distribution.device_replay import DeviceReplay
from dqn_tf.experience import accumulator, frame_replay
from dqn_tf.experience.frame_replay import FrameReplay
from dqn_tf.experience.replay import Replay
from dqn_tf.process import gpus, hardware
from dqn_tf.training import memory, replay_memory
from tests import making

LARGE_VECTORS = making.spec((7056,), np.float32, 2)
IMAGES, VECTORS = making.spec((84, 84, 4), np.uint8, 3, 255), making.spec((4,), np.float32, 2)
# A frame of 84 x 84 bytes for each of 1000 transitions and 3 % more, and what is added at a time.
NBYTES, CHUNK = 1030 * 7056, frame_replay.CHUNK_NBYTES


@pytest.fixture
def make(placement, monkeypatch, caplog):
    """Returns a function that makes the replay of a machine, and what was said."""

    def make(spec=IMAGES, devices=("CPU:0",), free=10**10, host=10**12, **values):
        config = settings.build({"replay_capacity": 1000, "train_env_steps": 10_000, **values})
        monkeypatch.setattr(strategy.Placement, "gpus", property(lambda self: list(devices)))
        monkeypatch.setattr(strategy, "free_memory", lambda device: free)
        monkeypatch.setattr(hardware, "available_memory", lambda: host)
        monkeypatch.setattr(gpus, "visible_gpus", lambda environ: ["0"])
        monkeypatch.setattr(logging.getLogger("dqn_tf"), "propagate", True)  # console.set_up turns it off
        caplog.clear()
        with caplog.at_level("INFO", logger=replay_memory._log.name):
            made = replay_memory.make(config, spec, placement, 1, np.random.default_rng(0))
        lines = [record.getMessage() for record in caplog.records if record.name == replay_memory._log.name]
        return type(made), lines, made

    return make


def test_images_are_on_the_gpu_that_learns_where_there_is_one(make):
    assert make(replay_device="gpu")[:2] == (DeviceReplay, ["replay: 0.0 GB on CPU:0, because --replay_device=gpu"])
    assert make()[0] == DeviceReplay
    assert make(free=None)[0] == DeviceReplay
    assert make(devices=())[:2] == (FrameReplay, [])


def test_images_are_on_the_host_if_that_is_asked_for_and_vectors_always(make):
    line = "replay: in the host's memory, because "
    assert make(replay_device="host")[:2] == (FrameReplay, [line + "--replay_device=host"])
    assert make(VECTORS)[:2] == (Replay, [line + "observations are no images"])


def test_images_are_on_the_host_where_all_is_to_be_deterministic(make):
    (line,) = make(deterministic=True)[1]
    assert line == f"replay: in the host's memory, because {replay_memory._NOT_DETERMINISTIC}"
    with pytest.raises(schema.ConfigError, match="--replay_device=gpu with --deterministic: TensorFlow writes"):
        make(deterministic=True, replay_device="gpu")


@pytest.mark.parametrize("lacking", [1, 5])
def test_images_that_do_not_fit_on_the_gpu_are_on_the_host_and_the_capacity_that_fits_is_told(make, lacking):
    free = (NBYTES // lacking - 1 + CHUNK) * 4  # a quarter at least is the replay's
    kind, lines, _ = make(free=free)
    assert kind == FrameReplay
    assert lines[0].startswith("replay: in the host's memory, because --replay_capacity=1000 needs 0.0 GB of a GPU's ")
    fits = int(lines[0].split("--replay_capacity=")[-1].split()[0])
    assert make(free=free, replay_capacity=fits, replay_device="gpu")[0] == DeviceReplay
    with pytest.raises(schema.ConfigError) as error:
        make(free=free, replay_device="gpu")
    assert list(error.value.problems) == [lines[0].removeprefix("replay: in the host's memory, because ")]


@pytest.mark.parametrize("how", [{"free": NBYTES}, {"devices": ()}])
def test_replay_that_fits_nowhere_is_refused(make, how):
    with pytest.raises(schema.ConfigError, match="--replay_capacity=1000 needs 0.0 GB of memory"):
        make(**{"host": NBYTES, **how})


def test_plan_asks_for_the_hosts_memory_only_of_what_cannot_be_on_a_gpu(monkeypatch):
    monkeypatch.setattr(hardware, "available_memory", lambda: NBYTES)
    config = settings.build({"replay_capacity": 1000, "train_env_steps": 10_000, "hidden_units": (4,)})

    def problems(spec, has_gpu):
        return [line for line in memory.check(config, spec, architecture.MLP, 1, 1, has_gpu) if "capacity" in line]

    assert not problems(IMAGES, True) and len(problems(IMAGES, False)) == len(problems(LARGE_VECTORS, True)) == 1


@pytest.mark.parametrize(("capacity", "num_added"), [(1000, 600), (1050, 1050), (437, 800), (100, 2000)])
def test_memory_of_the_gpu_is_taken_once(make, capacity, num_added):
    made = make(making.spec((9, 9, 2), np.uint8, 3, 255), replay_capacity=capacity, train_env_steps=num_added)[2]
    generator, variable = np.random.default_rng(0), made._frames.variables[0]
    size = variable.value().shape
    planes = generator.integers(256, size=(num_added + 2, 9, 9), dtype=np.uint8)  # one more in each env step
    stacks = np.stack((planes[:-1], planes[1:]), axis=-1)
    for first in range(0, num_added, 80):
        count = min(80, num_added - first)
        numbers = np.zeros(count, np.float32)
        before, after = stacks[first : first + count], stacks[first + 1 : first + 1 + count]
        made.add(accumulator.Transitions(before, np.zeros(count, np.int32), numbers, numbers, after))
    assert variable.value().shape == size


def test_replay_device_gpu_is_refused_where_it_means_nothing(make):
    with pytest.raises(schema.ConfigError) as error:
        make(devices=(), replay_device="gpu")
    assert str(error.value) == "--replay_device=gpu needs a GPU, and TensorFlow sees none; leave it out."
    with pytest.raises(schema.ConfigError, match="needs observations of uint8 with 2 or 3 axes"):
        make(VECTORS, replay_device="gpu")
