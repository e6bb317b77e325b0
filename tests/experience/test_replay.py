"""The ring buffer in lockstep with a plain list."""

import numpy as np
import pytest

from dqn_tf.experience import accumulator, replay


def make_transitions(start, count, dtype=np.float32):
    """Returns transitions numbered from start; all their values tell the number."""
    number = np.arange(start, start + count)
    observation = np.stack((number, number + 0.5), axis=-1).astype(dtype)
    return accumulator.Transitions(
        s_tm1=observation,
        a_tm1=number.astype(np.int32),
        r_t=(number * 2).astype(np.float32),
        discount_t=(number * 3).astype(np.float32),
        s_t=(observation + 7).astype(dtype),
    )


class NaiveReplay:
    """The same, one transition at a time."""

    def __init__(self, capacity, generator):
        self.capacity, self.generator = capacity, generator
        self.slots, self.num_added = [], 0

    def add(self, transitions):
        for transition in zip(*transitions, strict=True):
            if len(self.slots) < self.capacity:
                self.slots.append(transition)
            else:
                self.slots[self.num_added % self.capacity] = transition
            self.num_added += 1

    def sample(self, num_batches, batch_size):
        index = self.generator.integers(len(self.slots), size=(num_batches, batch_size))
        rows = [[self.slots[i] for i in batch] for batch in index]
        return accumulator.Transitions(*(np.array([[row[f] for row in batch] for batch in rows]) for f in range(5)))


def assert_equal(actual, expected):
    for field, a, b in zip(accumulator.Transitions._fields, actual, expected, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=field, strict=True)


@pytest.mark.parametrize(
    "counts",
    [
        [1, 1, 1, 1, 1, 1, 1, 1],
        [3, 3, 3, 3],  # wraps inside the third
        [5, 5, 1],  # exactly full
        [0, 2, 0, 9, 0],  # nothing, and more than the capacity
        [4, 12, 3],  # more than twice the capacity, from the middle
        [5, 10, 2],  # a multiple of the capacity
    ],
)
def test_replay_in_lockstep_with_a_list_holds_and_samples_the_same(counts):
    buffer = replay.Replay(5, (2,), np.float32, np.random.default_rng(3))
    naive = NaiveReplay(5, np.random.default_rng(3))
    start = 0
    for count in counts:
        transitions = make_transitions(start, count)
        buffer.add(transitions)
        naive.add(transitions)
        start += count
        assert len(buffer) == len(naive.slots)
        if len(buffer):
            assert_equal(buffer.sample(2, 8).transitions, naive.sample(2, 8))


def test_add_when_more_than_capacity_keeps_the_newest():
    buffer = replay.Replay(4, (2,), np.float32, np.random.default_rng(0))
    buffer.add(make_transitions(0, 11))
    assert set(buffer.sample(1, 200).transitions.a_tm1[0].tolist()) == {7, 8, 9, 10}


def test_add_when_nothing_is_given_changes_nothing():
    buffer = replay.Replay(4, (2,), np.float32, np.random.default_rng(0))
    buffer.add(make_transitions(0, 0))
    assert len(buffer) == 0


def test_add_when_the_caller_reuses_its_arrays_keeps_its_own():
    buffer = replay.Replay(4, (2,), np.float32, np.random.default_rng(0))
    transitions = make_transitions(1, 1)
    buffer.add(transitions)
    for array in transitions:
        array[...] = 99
    assert_equal(buffer.sample(1, 1).transitions, (x[np.newaxis] for x in make_transitions(1, 1)))


def test_add_when_observations_are_of_another_kind_raises():
    buffer = replay.Replay(4, (2,), np.uint8, np.random.default_rng(0))
    with pytest.raises(TypeError, match="float32.*uint8"):
        buffer.add(make_transitions(0, 1))


def test_sample_when_empty_raises():
    buffer = replay.Replay(4, (2,), np.float32, np.random.default_rng(0))
    with pytest.raises(ValueError, match="The replay buffer is empty; add transitions before sampling."):
        buffer.sample(1, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_sample_gives_the_documented_shapes_and_dtypes(dtype):
    buffer = replay.Replay(6, (2,), dtype, np.random.default_rng(0))
    buffer.add(make_transitions(0, 3, dtype))
    batch = buffer.sample(3, 4).transitions
    assert [x.shape for x in batch] == [(3, 4, 2), (3, 4), (3, 4), (3, 4), (3, 4, 2)]
    assert [x.dtype for x in batch] == [dtype, np.int32, np.float32, np.float32, dtype]


def test_sample_when_changed_leaves_the_buffer_alone():
    buffer = replay.Replay(4, (2,), np.float32, np.random.default_rng(0))
    buffer.add(make_transitions(1, 1))
    for array in buffer.sample(1, 1).transitions:
        array[...] = 99
    assert_equal(buffer.sample(1, 1).transitions, (x[np.newaxis] for x in make_transitions(1, 1)))


def test_sample_when_partly_filled_reads_no_empty_slot():
    buffer = replay.Replay(1000, (2,), np.float32, np.random.default_rng(0))
    buffer.add(make_transitions(0, 3))
    assert set(buffer.sample(1, 200).transitions.a_tm1[0].tolist()) == {0, 1, 2}


def test_sample_draws_uniformly():
    buffer = replay.Replay(10, (2,), np.float32, np.random.default_rng(1))
    buffer.add(make_transitions(5, 15))  # wraps: 10 to 19 are left
    counts = np.bincount(buffer.sample(100, 1000).transitions.a_tm1.ravel(), minlength=20)
    assert not counts[:10].any()
    # Binomial(100,000, 1/10) has a standard deviation of 95; five of them.
    np.testing.assert_allclose(counts[10:], 10_000, atol=5 * 95)


def test_sample_when_seeds_are_equal_draws_the_same():
    batches = []
    for _ in range(2):
        buffer = replay.Replay(10, (2,), np.float32, np.random.default_rng(4))
        buffer.add(make_transitions(0, 10))
        batches.append(buffer.sample(3, 5).transitions)
    assert_equal(*batches)


def test_nbytes_counts_the_storage_when_full():
    buffer = replay.Replay(10, (2,), np.float32, np.random.default_rng(0))
    assert buffer.nbytes == 10 * (2 * 4 + 4 + 4 + 4 + 2 * 4)
