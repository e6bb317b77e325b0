"""Prioritized sampling: a naive twin, importance weights by hand, what new transitions get, and what is restored."""

import numpy as np
import pytest

from dqn_tf.experience import accumulator, frame_replay, replay, sampling

LEAST = 1e-6


def make_transitions(start, count, shape=(2,), dtype=np.float32):
    """Returns transitions numbered from start; a_tm1 is the number."""
    number = np.arange(start, start + count)
    observations = np.broadcast_to((number % 251).reshape(-1, *[1] * len(shape)), (count, *shape)).astype(dtype)
    column = number.astype(np.float32)
    next_ones = observations + dtype(1)
    return accumulator.Transitions(observations, number.astype(np.int32), column, column / 1000, next_ones)


def make(capacity, count=0, exponent=1.0, seed=0):
    buffer = replay.Replay(
        capacity, (2,), np.float32, np.random.default_rng(seed), sampling.Prioritized(capacity, exponent)
    )
    buffer.add(make_transitions(0, count))
    return buffer


def give(buffer, priorities):
    """Gives the transitions of the first rows these priorities."""
    buffer.update_priorities(np.arange(len(priorities))[None], np.array([priorities], np.float32))


class Naive:
    """The same with a list of numbers and cumulative sums."""

    def __init__(self, capacity, exponent, generator):
        self.capacity, self.exponent, self.generator = capacity, exponent, generator
        self.number, self.p, self.largest, self.num_added = [-1] * capacity, np.zeros(capacity), 1.0, 0

    def add(self, count):
        for _ in range(count):
            row = self.num_added % self.capacity
            self.number[row], self.p[row] = self.num_added, self.largest
            self.num_added += 1

    def sample(self, num_batches, batch_size, beta):
        edges, parts = np.cumsum(self.p), self.generator.random((batch_size, num_batches))
        rows, weights = np.zeros((num_batches, batch_size), int), np.zeros((num_batches, batch_size))
        for k in range(num_batches):
            for b in range(batch_size):
                target = (b + parts[b, k]) * edges[-1] / batch_size
                rows[k, b] = np.flatnonzero(edges > target)[0]
                weights[k, b] = (min(self.num_added, self.capacity) * self.p[rows[k, b]] / edges[-1]) ** -beta
        return rows, weights

    def update(self, rows, priorities):
        for row, priority in zip(rows.ravel(), priorities.ravel(), strict=True):
            self.p[row] = (abs(float(priority)) + LEAST) ** self.exponent
            self.largest = max(self.largest, self.p[row])


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_prioritized_replay_in_lockstep_with_a_naive_one_draws_and_weighs_the_same(exponent):
    buffer, naive = make(7, exponent=exponent, seed=5), Naive(7, exponent, np.random.default_rng(5))
    generator, added = np.random.default_rng(6), 0
    for count in (3, 2, 4, 0, 9, 1, 5):  # it fills, wraps, and is overwritten whole
        buffer.add(make_transitions(added, count))
        naive.add(count)
        added += count
        for beta in (0.4, 1.0):
            sample = buffer.sample(3, 4, beta)
            rows, weights = naive.sample(3, 4, beta)
            np.testing.assert_array_equal(sample.row, rows)
            np.testing.assert_array_equal(sample.transitions.a_tm1, np.array(naive.number)[rows])
            np.testing.assert_allclose(sample.importance_weight, weights, rtol=1e-6)  # float32
            priority = generator.exponential(2.0, (3, 4)).astype(np.float32)
            buffer.update_priorities(sample.row, priority)
            naive.update(rows, priority)


def test_sample_when_priorities_differ_draws_in_proportion():
    buffer = make(10, 10)
    give(buffer, [0, 1, 2, 3, 4, 0, 0, 0, 0, 10])
    counts = np.bincount(buffer.sample(2000, 50).row.ravel(), minlength=10)
    # Binomial(100,000, 1/2) has a standard deviation of 158, and parts of a batch make it smaller; five of them.
    np.testing.assert_allclose(counts, [0, 5000, 10_000, 15_000, 20_000, 0, 0, 0, 0, 50_000], atol=5 * 158)


def test_sample_takes_one_transition_from_each_of_equal_parts_of_the_priorities():
    buffer = make(4, 4)
    assert buffer.sample(100, 4).row.tolist() == [[0, 1, 2, 3]] * 100


def test_sample_gives_the_documented_shapes_and_dtypes():
    sample = make(6, 3).sample(3, 4, 0.5)
    assert [x.shape for x in sample.transitions] == [(3, 4, 2), (3, 4), (3, 4), (3, 4), (3, 4, 2)]
    assert (sample.row.shape, sample.row.dtype) == ((3, 4), np.int64)
    assert (sample.importance_weight.shape, sample.importance_weight.dtype) == ((3, 4), np.float32)


def test_importance_weights_are_those_of_the_formula():
    buffer = make(8, 2)
    give(buffer, [1, 3])
    sample = buffer.sample(50, 4, 0.5)
    expected = np.where(sample.row == 0, (2 * 1 / 4) ** -0.5, (2 * 3 / 4) ** -0.5)
    np.testing.assert_allclose(sample.importance_weight, expected, rtol=1e-5)  # 1e-6 is added to the priorities
    assert set(sample.row.ravel()) == {0, 1}
    assert (buffer.sample(5, 4, 0.0).importance_weight == 1).all()


def test_priorities_when_given_are_taken_by_their_size_to_the_exponent():
    buffer = make(4, 3, exponent=0.5)
    give(buffer, [4, -9, 0])
    np.testing.assert_allclose(buffer.priorities().held, np.sqrt([4 + LEAST, 9 + LEAST, LEAST]))


def test_new_transitions_have_the_largest_priority_so_far():
    buffer = make(4, 2)
    assert buffer.priorities().held.tolist() == [1, 1]
    give(buffer, [5, 0.5])
    give(buffer, [2, 0.5])
    buffer.add(make_transitions(2, 3))  # the last in place of the first
    np.testing.assert_allclose(buffer.priorities().held, [0.5, 5, 5, 5], rtol=1e-5)


def test_update_when_a_transition_was_drawn_several_times_keeps_the_last_priority():
    buffer = make(4, 3)
    buffer.update_priorities(np.array([[0, 1], [0, 2], [1, 1]]), np.array([[9, 9], [2, 3], [9, 4]], np.float32))
    np.testing.assert_allclose(buffer.priorities().held, [2, 4, 3], rtol=1e-5)


def test_sample_when_all_priorities_are_0_draws_uniformly_with_weights_of_1():
    buffer = make(1000, 3)
    buffer.restore_priorities(sampling.Priorities(np.zeros(3), 1.0))
    sample = buffer.sample(100, 30, 0.7)
    counts = np.bincount(sample.row.ravel())
    # Binomial(3000, 1/3) has a standard deviation of 26; five of them.
    np.testing.assert_allclose(counts, [1000] * 3, atol=5 * 26)
    assert (sample.importance_weight == 1).all()


@pytest.mark.parametrize("shape, dtype", [((2,), np.float32), ((3, 5, 4), np.uint8)])
def test_replay_whose_state_was_saved_and_restored_samples_the_same(shape, dtype):
    buffers = [
        frame_replay.create(30, shape, dtype, np.random.default_rng(0), sampling.Prioritized(30, 0.5)) for _ in range(2)
    ]
    old, new = buffers
    assert isinstance(new, frame_replay.FrameReplay) == (dtype == np.uint8)
    old.add(make_transitions(0, 47, shape, dtype))
    old.update_priorities(old.sample(4, 8).row, np.random.default_rng(1).exponential(size=(4, 8)).astype(np.float32))
    first = old.num_added - len(old)
    new.begin_at(first)
    new.add_packed(old.packed(first, old.num_added), slice(None))
    new.restore_priorities(old.priorities())
    new.generator.bit_generator.state = old.generator.bit_generator.state
    for start in (47, 55):
        samples = [buffer.sample(5, 8, 0.4) for buffer in buffers]
        for arrays in zip(*((*one.transitions, one.importance_weight, one.row) for one in samples), strict=True):
            np.testing.assert_array_equal(*arrays, strict=True)
        for buffer, sample in zip(buffers, samples, strict=True):
            buffer.update_priorities(sample.row, 3 * sample.importance_weight)
            buffer.add(make_transitions(start, 8, shape, dtype))  # with the largest priority of both


def test_replay_of_frames_samples_what_one_of_whole_observations_does():
    shape, generators = (3, 5, 4), [np.random.default_rng(3) for _ in range(2)]
    twins = [
        kind(20, shape, np.uint8, generator, sampling.Prioritized(20, 1.0))
        for kind, generator in zip((frame_replay.FrameReplay, replay.Replay), generators, strict=True)
    ]
    for start in range(0, 60, 15):
        for buffer in twins:
            buffer.add(make_transitions(start, 15, shape, np.uint8))
        samples = [buffer.sample(4, 5, 0.4) for buffer in twins]
        for arrays in zip(*((*one.transitions, one.importance_weight, one.row) for one in samples), strict=True):
            np.testing.assert_array_equal(*arrays, strict=True)
        for buffer in twins:
            buffer.update_priorities(samples[0].row, samples[0].transitions.r_t)


def test_clear_forgets_the_priorities():
    buffer = make(4, 4)
    give(buffer, [7, 7, 7, 7])
    buffer.clear()
    buffer.add(make_transitions(0, 1))
    assert buffer.priorities() == ([1.0], 1.0)
    assert (buffer.sample(5, 5).row == 0).all()


def test_uniform_replay_has_neither_weights_nor_rows_nor_priorities():
    buffer = replay.Replay(4, (2,), np.float32, np.random.default_rng(0))
    buffer.add(make_transitions(0, 3))
    sample = buffer.sample(2, 2, 0.4)
    assert (sample.importance_weight, sample.row, buffer.priorities()) == (None, None, None)
