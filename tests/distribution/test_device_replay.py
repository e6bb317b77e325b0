"""A replay whose frames are on devices is the twin, to the byte, of the one in this process's memory."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from dqn_tf.agent import learner, losses
from dqn_tf.config import schema
from dqn_tf.distribution import device_replay, reducer
from dqn_tf.experience import accumulator, frame_replay, sampling
from tests import making, marks
from tests.experience.test_frame_replay import LAYOUTS, StackedGame, noted, play, rows, split
from tests.placements import one_replica, two_replicas


def twins(layout, capacity, devices, num_slots, make_sampler=sampling.Uniform):
    shape = LAYOUTS[layout][0]
    about = capacity, shape, np.uint8
    host = frame_replay.FrameReplay(*about, np.random.default_rng(3), make_sampler())
    make_frames = functools.partial(device_replay.DeviceFrames, devices=devices, num_slots=num_slots)
    device = device_replay.DeviceReplay(*about, np.random.default_rng(3), make_sampler(), make_frames=make_frames)
    return host, device


def transitions_of(layout, n_step, num_steps=60, num_envs=2):
    ends = np.full((num_steps, num_envs), "", dtype="U10")
    ends[7, 0], ends[20, 1], ends[33, 0] = "terminated", "truncated", "life"
    games = [StackedGame(layout, "zeros", seed) for seed in range(num_envs)]
    return accumulator.Accumulator(n_step, 0.9).add(play(games, num_steps, ends))


def assert_same_samples(host, device, count):
    for i in range(count):
        expected, found = host.sample(3, 4, 0.5), device.sample(3, 4, 0.5)
        gathered = tf.function(device.observed, autograph=False)
        for k in range(3):
            one = found.transitions._make(tf.constant(column[k]) for column in found.transitions)
            made = gathered(one, i % count)
            for column, other in zip(made, expected.transitions, strict=True):
                assert column.numpy().tobytes() == other[k].tobytes() and column.shape == other[k].shape
        if expected.row is not None:
            np.testing.assert_array_equal(found.row, expected.row)
            np.testing.assert_array_equal(found.importance_weight, expected.importance_weight)
            for replay in (host, device):
                replay.update_priorities(expected.row, np.abs(np.sin(expected.row.astype(np.float32))))


@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_device_replay_samples_what_frame_replay_does_when_it_wraps_and_grows(logical_cpus, layout, n_step):
    host, device = twins(layout, 50, logical_cpus[1:3], 10, lambda: sampling.Prioritized(50, 0.6))
    for part in split(transitions_of(layout, n_step), (1, 30, 7)):
        host.add(part)
        device.add(part)
        assert_same_samples(host, device, 2)
    assert device.num_frames == host.num_frames
    assert device._frames.variables[0].shape[0] is None and device.nbytes < host.nbytes


@pytest.mark.parametrize("layout", ["stack first", "stack last"])
def test_device_replay_of_noted_games_samples_what_frame_replay_does_and_reads_back_no_known_plane(
    logical_cpus, monkeypatch, layout
):
    host, device = twins(layout, 50, logical_cpus[:1], 120)
    games = [StackedGame(layout, "zeros", seed, blank=0) for seed in range(2)]
    steps, taken = play(games, 60, np.full((60, 2), "")), []
    take = device._frames.take
    monkeypatch.setattr(device._frames, "take", lambda slots: taken.append(len(slots)) or take(slots))
    collectors = [accumulator.Accumulator(3, 0.9) for _ in range(2)]
    for start in range(0, 60, 5):
        for replay, collector in zip((host, device), collectors, strict=True):
            replay.add(collector.add(noted(replay, rows(steps, start, start + 5))))
            replay.keep_noted(collector.waiting)
        assert_same_samples(host, device, 1)
    assert len(device) == 50 and sum(taken) <= 2  # the plane of zeros, of two resets


def test_device_replay_of_masked_transitions_is_the_twin_of_frame_replay(logical_cpus):
    shape = LAYOUTS["stack first"][0]
    make_frames = functools.partial(device_replay.DeviceFrames, devices=logical_cpus[:1], num_slots=60)
    host = frame_replay.FrameReplay(50, shape, np.uint8, np.random.default_rng(3), mask_nbytes=1)
    device = device_replay.DeviceReplay(
        50, shape, np.uint8, np.random.default_rng(3), mask_nbytes=1, make_frames=make_frames
    )
    plain = transitions_of("stack first", 3)
    bits = plain.a_tm1.astype(np.uint8)[:, np.newaxis]
    for replay in (host, device):
        replay.add(accumulator.MaskedTransitions(*plain, bits, bits + 1))
    assert_same_samples(host, device, 1)
    np.testing.assert_array_equal(device.blank(1, 2).transitions.legal_t, 255)


def test_device_replay_packs_what_frame_replay_does_and_takes_it_back(logical_cpus):
    host, device = twins("stack first", 50, logical_cpus[:1], 60)
    for replay in (host, device):
        replay.add(transitions_of("stack first", 3))
    first, end = host.num_added - 50, host.num_added
    expected, found = host.packed(first, end), device.packed(first, end)
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
    _, other = twins("stack first", 50, logical_cpus[:1], 60)
    other.begin_at(first)
    other.add_packed(found, slice(None))
    host.generator.bit_generator.state = other.generator.bit_generator.state
    assert_same_samples(host, other, 1)


@pytest.mark.parametrize("jit_compile", [False, *marks.thorough(True)])
@pytest.mark.parametrize("placement", [one_replica, two_replicas])
def test_updates_from_frames_on_devices_are_those_from_frames_on_the_host(logical_cpus, placement, jit_compile):
    learning = schema.Learning(learning_rate_schedule="constant")
    host, device = twins("stack last", 50, logical_cpus[:2], 60, lambda: sampling.Prioritized(50, 0.6))
    build = making.builder("minatar_cnn", LAYOUTS["stack last"][0], np.uint8, 3, largest=255)
    loss = losses.create(losses.LOSSES["huber"], True)

    def learner_of(replay, placement):
        shared, observed = reducer.GradientSum(placement), getattr(replay, "observed", None)
        return learner.Learner(shared, build, loss, learning, 8, 10, jit_compile, observed=observed)

    found = []
    for replay in (host, device):
        replay.add(transitions_of("stack last", 1))
        made = learner_of(replay, placement())
        samples = [replay.sample(3, 8, 0.5) for _ in range(2)]
        for one in samples:
            one.transitions.a_tm1[:] %= 3
        priorities = [made.update(one)[1] for one in samples]
        found.append([*priorities, *made.weights()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_blank_has_the_shapes_and_dtypes_of_a_sample(logical_cpus):
    for replay in twins("stack last", 50, logical_cpus[:1], 60, lambda: sampling.Prioritized(50, 0.6)):
        replay.add(transitions_of("stack last", 1))
        found, expected = replay.blank(2, 3), replay.sample(2, 3)
        about = [[(one.shape, one.dtype) for one in (*sample.transitions, *sample[1:])] for sample in (found, expected)]
        assert about[0] == about[1]


def test_room_that_is_there_is_not_asked_of_the_device(logical_cpus, monkeypatch):
    _, device = twins("stack first", 50, logical_cpus[:1], 60)
    monkeypatch.setattr(device._frames.variables[0], "value", None)  # it would be copied
    device._frames.grow(60)


def test_device_replay_when_memory_is_full_raises_memory_error(logical_cpus, monkeypatch):
    def exhausted(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    monkeypatch.setattr(device_replay.tf, "zeros", exhausted)
    with pytest.raises(MemoryError):
        twins("plane", 50, logical_cpus[:1], 60)


def test_device_replay_that_cannot_grow_says_so_in_one_line_and_keeps_what_it_has(logical_cpus, monkeypatch):
    def exhausted(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    host, device = twins("plane", 50, logical_cpus[:1], 10)
    first, *others = split(transitions_of("plane", 1), (4,))
    for replay in (host, device):
        replay.add(first)
    full = "transitions and cannot grow to 1. frames of 40 bytes"
    with monkeypatch.context() as patch, pytest.raises(MemoryError, match=full):
        patch.setattr(device_replay.tf, "concat", exhausted)
        for part in others:
            device.add(part)
    assert len(device) >= 4
