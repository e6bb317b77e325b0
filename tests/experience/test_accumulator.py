"""The accumulator against hand arithmetic and a plain loop."""

import itertools

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from dqn_tf.experience import accumulator

GAMMA = 0.9  # Hand arithmetic below is compared in float32, whose rounding differs in the last digits.


def make_steps(reward, terminated=None, truncated=None):
    """Returns Steps of reward [T, N]; observation (t, n, 0) leads to (t, n, 1), action is 10 * t + n."""
    reward = np.asarray(reward, np.float32)
    flags = [np.zeros(reward.shape, bool) if x is None else np.asarray(x, bool) for x in (terminated, truncated)]
    time, environment = np.indices(reward.shape)
    observation = np.stack((time, environment, np.zeros_like(time)), axis=-1).astype(np.float32)
    action = (10 * time + environment).astype(np.int32)
    return accumulator.Steps(observation, action, reward, *flags, observation + np.float32([0, 0, 1]))


def column(*values):
    """Returns [T, 1]."""
    return np.array(values)[:, np.newaxis]


def brute_force(steps, n_step, discount):
    """Returns, for each environment, its complete transitions in order of time; one step at a time."""
    num_steps, num_envs = steps.reward.shape
    chains = [[] for _ in range(num_envs)]
    for n in range(num_envs):
        for t in range(num_steps):
            r_t = np.float32(0)
            for k in range(n_step):
                if t + k == num_steps:
                    break
                r_t = r_t + np.float32(discount**k) * steps.reward[t + k, n]
                ended = steps.terminated[t + k, n] or steps.truncated[t + k, n]
                if ended or k == n_step - 1:
                    discount_t = np.float32(0 if steps.terminated[t + k, n] else discount ** (k + 1))
                    last = steps.next_observation[t + k, n]
                    chains[n].append((steps.observation[t, n], steps.action[t, n], r_t, discount_t, last))
                    break
    return chains


def per_environment(batches, num_envs):
    """Returns, for each environment, the transitions of all batches in the order in which they came out."""
    chains = [[] for _ in range(num_envs)]
    for batch in batches:
        for transition in zip(*batch, strict=True):
            chains[int(transition[0][1])].append(transition)
    return chains


def assert_same_bits(actual, expected):
    assert [len(chain) for chain in actual] == [len(chain) for chain in expected]
    for a, b in zip(sum(actual, []), sum(expected, []), strict=True):
        for field, x, y in zip(accumulator.Transitions._fields, a, b, strict=True):
            assert x.dtype == y.dtype and x.tobytes() == y.tobytes(), (field, a, b)


def assert_equals_brute_force(steps, n_step):
    batch = accumulator.Accumulator(n_step, GAMMA).add(steps)
    num_envs = steps.reward.shape[1]
    assert_same_bits(per_environment([batch], num_envs), brute_force(steps, n_step, GAMMA))


def test_add_when_nothing_ends_sums_n_discounted_rewards():
    batch = accumulator.Accumulator(3, GAMMA).add(make_steps(column(1, 2, 4, 8)))
    np.testing.assert_allclose(batch.r_t, [1 + 0.9 * 2 + 0.81 * 4, 2 + 0.9 * 4 + 0.81 * 8], rtol=1e-6)
    np.testing.assert_allclose(batch.discount_t, [0.9 * 0.9 * 0.9, 0.9 * 0.9 * 0.9], rtol=1e-6)
    np.testing.assert_array_equal(batch.s_tm1, [[0, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(batch.a_tm1, [0, 10])
    np.testing.assert_array_equal(batch.s_t, [[2, 0, 1], [3, 0, 1]])


def test_add_when_terminated_cuts_the_chains_and_stops_bootstrapping():
    batch = accumulator.Accumulator(3, GAMMA).add(make_steps(column(1, 2), terminated=column(0, 1)))
    np.testing.assert_allclose(batch.r_t, [1 + 0.9 * 2, 2], rtol=1e-6)
    np.testing.assert_array_equal(batch.discount_t, [0, 0])
    np.testing.assert_array_equal(batch.s_t, [[1, 0, 1], [1, 0, 1]])


def test_add_when_truncated_bootstraps_from_the_last_observation():
    batch = accumulator.Accumulator(3, GAMMA).add(make_steps(column(1, 2), truncated=column(0, 1)))
    np.testing.assert_allclose(batch.r_t, [1 + 0.9 * 2, 2], rtol=1e-6)
    np.testing.assert_allclose(batch.discount_t, [0.9 * 0.9, 0.9], rtol=1e-6)
    np.testing.assert_array_equal(batch.s_t, [[1, 0, 1], [1, 0, 1]])


def test_add_when_both_flags_are_set_terminated_wins():
    batch = accumulator.Accumulator(2, GAMMA).add(make_steps(column(1), column(1), column(1)))
    np.testing.assert_array_equal(batch.discount_t, [0])


def test_add_when_one_step_gives_each_step_at_once():
    batch = accumulator.Accumulator(1, GAMMA).add(make_steps([[1, 2], [3, 4]], terminated=[[0, 1], [0, 0]]))
    np.testing.assert_array_equal(batch.r_t, [1, 2, 3, 4])
    np.testing.assert_array_equal(batch.discount_t, np.float32([0.9, 0, 0.9, 0.9]))


def test_add_orders_by_source_time_then_environment():
    steps = make_steps([[1, 1], [1, 1], [1, 1]], truncated=[[0, 0], [0, 1], [0, 0]])
    batch = accumulator.Accumulator(3, GAMMA).add(steps)
    np.testing.assert_array_equal(batch.a_tm1, [0, 1, 11])  # Time 0 of both, then time 1 of the one cut there.


def test_add_gives_the_documented_dtypes():
    batch = accumulator.Accumulator(3, GAMMA).add(make_steps(np.ones((4, 2))))
    assert [x.dtype for x in batch] == [np.float32, np.int32, np.float32, np.float32, np.float32]
    assert [x.shape for x in batch] == [(4, 3), (4,), (4,), (4,), (4, 3)]


def test_add_when_observations_are_uint8_keeps_their_dtype():
    steps = make_steps(np.ones((3, 1)))
    frames = steps._replace(
        observation=np.full((3, 1, 2, 2), 7, np.uint8), next_observation=np.full((3, 1, 2, 2), 9, np.uint8)
    )
    batch = accumulator.Accumulator(2, GAMMA).add(frames)
    assert batch.s_tm1.dtype == batch.s_t.dtype == np.uint8
    np.testing.assert_array_equal(batch.s_tm1, np.full((2, 2, 2), 7))
    np.testing.assert_array_equal(batch.s_t, np.full((2, 2, 2), 9))


@pytest.mark.parametrize("end", ["first", "second", "n - 1", "n", "every"])
def test_add_when_an_episode_ends_equals_brute_force(end):
    for n_step, flags in itertools.product((1, 3, 5), ("terminated", "truncated", "both")):
        num_steps = 2 * n_step + 2
        ended = np.zeros((num_steps, 3), bool)
        times = {"first": 0, "second": 1, "n - 1": n_step - 1, "n": n_step, "every": slice(None)}
        ended[times[end], 1] = True  # The environments beside it go on.
        reward = np.linspace(-1, 1, num_steps * 3).reshape(num_steps, 3)
        terminated = ended if flags != "truncated" else None
        truncated = ended if flags != "terminated" else None
        assert_equals_brute_force(make_steps(reward, terminated, truncated), n_step)


@pytest.mark.parametrize("num_steps", [1, 2, 4])
def test_add_when_rounds_are_shorter_than_n_equals_brute_force(num_steps):
    steps = make_steps(np.arange(24).reshape(12, 2), truncated=np.arange(24).reshape(12, 2) == 9)
    collector = accumulator.Accumulator(5, GAMMA)
    batches = [
        collector.add(accumulator.Steps(*(x[t : t + num_steps] for x in steps))) for t in range(0, 12, num_steps)
    ]
    assert_same_bits(per_environment(batches, 2), brute_force(steps, 5, GAMMA))


def test_add_when_nothing_is_complete_returns_no_transitions():
    batch = accumulator.Accumulator(3, GAMMA).add(make_steps(np.ones((2, 4))))
    assert [x.shape for x in batch] == [(0, 3), (0,), (0,), (0,), (0, 3)]


def test_add_when_a_reward_follows_the_end_does_not_read_it():
    steps = make_steps(column(1, 2, np.nan, np.nan), truncated=column(0, 1, 0, 0))
    batch = accumulator.Accumulator(3, GAMMA).add(steps)
    np.testing.assert_allclose(batch.r_t, [1 + 0.9 * 2, 2], rtol=1e-6)


def test_add_when_rewards_are_clipped_sums_the_clipped_ones():
    steps = make_steps(column(5, -7, 0.5, -0.25))
    batch = accumulator.Accumulator(2, GAMMA, reward_clip=1.0).add(steps)
    np.testing.assert_allclose(batch.r_t, [1 + 0.9 * -1, -1 + 0.9 * 0.5, 0.5 + 0.9 * -0.25], rtol=1e-6)
    np.testing.assert_array_equal(steps.reward, column(5, -7, 0.5, -0.25))  # those of the caller stay


def test_add_when_rewards_are_clipped_takes_the_value_for_the_limit():
    batch = accumulator.Accumulator(1, GAMMA, reward_clip=2.5).add(make_steps(column(5, -7, 2.5, 2.25)))
    np.testing.assert_array_equal(batch.r_t, [2.5, -2.5, 2.5, 2.25])
    assert batch.r_t.dtype == np.float32


def test_add_when_rewards_are_clipped_clips_those_that_waited_too():
    collector = accumulator.Accumulator(2, GAMMA, reward_clip=1.0)
    assert len(collector.add(make_steps(column(5))).r_t) == 0
    np.testing.assert_allclose(collector.add(make_steps(column(-7))).r_t, [1 + 0.9 * -1], rtol=1e-6)


def test_add_when_reward_clip_is_0_leaves_rewards_as_they_are():
    batch = accumulator.Accumulator(1, GAMMA, reward_clip=0.0).add(make_steps(column(5, -7)))
    np.testing.assert_array_equal(batch.r_t, [5, -7])


def test_add_when_another_environment_holds_nan_does_not_read_it():
    batch = accumulator.Accumulator(2, GAMMA).add(make_steps([[1, np.nan], [2, np.nan]]))
    np.testing.assert_allclose(batch.r_t, [1 + 0.9 * 2, np.nan], rtol=1e-6)


def test_add_reads_the_next_observation_of_the_last_step_of_a_chain_only():
    steps = make_steps(np.ones((5, 1)))
    steps.next_observation[:2] = 99  # No chain of 3 ends in the first two steps.
    batch = accumulator.Accumulator(3, GAMMA).add(steps)
    assert not (batch.s_t == 99).any()


def test_add_when_the_caller_reuses_its_arrays_keeps_its_own():
    steps = make_steps(np.ones((6, 2)), truncated=np.arange(12).reshape(6, 2) == 11)
    collector, arrays, batches = accumulator.Accumulator(4, GAMMA), None, []
    for t in range(0, 6, 2):
        rows = accumulator.Steps(*(x[t : t + 2] for x in steps))
        arrays = arrays or accumulator.Steps(*(np.empty_like(x) for x in rows))
        for array, row in zip(arrays, rows, strict=True):
            array[...] = row
        batches.append(collector.add(arrays))
        for array in arrays:
            array[...] = 99
    assert_same_bits(per_environment(batches, 2), brute_force(steps, 4, GAMMA))


def test_pending_counts_the_steps_with_an_open_chain():
    collector = accumulator.Accumulator(3, GAMMA)
    assert collector.pending == 0
    collector.add(make_steps(np.ones((1, 2))))
    assert collector.pending == 1 * 2
    collector.add(make_steps(np.ones((4, 2))))
    assert collector.pending == 2 * 2  # n - 1 in each of 2 environments
    collector.add(make_steps(np.ones((1, 2)), truncated=[[1, 0]]))
    assert collector.pending == 0 + 2
    collector.add(make_steps(np.ones((1, 2)), terminated=[[1, 1]]))
    assert collector.pending == 0


@st.composite
def histories(draw):
    """Returns Steps of 0 to 12 steps of 1 to 3 environments, about a third of which end an episode."""
    shape = draw(st.integers(0, 12)), draw(st.integers(1, 3))
    flag = st.sampled_from([False] * 4 + [True])
    return make_steps(
        draw(numpy_strategies.arrays(np.float32, shape, elements=st.floats(-100, 100, width=32))),
        draw(numpy_strategies.arrays(bool, shape, elements=flag)),
        draw(numpy_strategies.arrays(bool, shape, elements=flag)),
    )


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(histories(), st.integers(1, 5), st.lists(st.integers(0, 12), max_size=6))
def test_add_when_split_in_any_way_gives_the_same_bits(steps, n_step, cuts):
    num_steps, num_envs = steps.reward.shape
    cuts = sorted([min(cut, num_steps) for cut in cuts] + [num_steps])
    collector, batches = accumulator.Accumulator(n_step, GAMMA), []
    for start, stop in zip([0, *cuts], cuts, strict=False):
        batches.append(collector.add(accumulator.Steps(*(x[start:stop] for x in steps))))
    expected = brute_force(steps, n_step, GAMMA)
    assert_same_bits(per_environment(batches, num_envs), expected)
    assert collector.pending == steps.reward.size - sum(map(len, expected))


@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(histories(), histories(), st.integers(1, 5))
def test_add_when_nothing_is_pending_goes_on_as_a_new_accumulator(before, after, n_step):
    num_envs = min(before.reward.shape[1], after.reward.shape[1])
    first, second = (accumulator.Steps(*(x[:, :num_envs] for x in steps)) for steps in (before, after))
    hypothesis.assume(len(first.reward))
    first.truncated[-1] = True
    collector = accumulator.Accumulator(n_step, GAMMA)
    collector.add(first)
    assert collector.pending == 0
    fresh = accumulator.Accumulator(n_step, GAMMA).add(second)
    for field, a, b in zip(fresh._fields, collector.add(second), fresh, strict=True):
        assert a.tobytes() == b.tobytes(), field


def masked(steps, legal, next_legal):
    """Returns MaskedSteps of steps and of masks [T, N, A]."""
    return accumulator.MaskedSteps(*steps, np.array(legal, bool), np.array(next_legal, bool))


# Of ten actions, of which 0, 1, 8 and 9 are legal in turn: bits 1, 2, and 1, 2 of the second byte.
MASKS = np.eye(10, dtype=bool)[[[0], [1], [8], [9]]]
BITS = [[1, 0], [2, 0], [0, 1], [0, 2]]


@pytest.mark.parametrize("sizes", [[4], [1, 1, 1, 1], [3, 1]])
def test_add_of_masked_steps_gives_the_bits_of_the_first_and_of_the_last_observation(sizes):
    # The second step is the last of a truncated episode, whose last observation has other legal actions, 0 and 9.
    after = np.concatenate((MASKS[1:], MASKS[:1]))
    after[1] = MASKS[0] | MASKS[3]
    steps = masked(make_steps(column(1, 2, 4, 8), truncated=column(0, 1, 0, 0)), MASKS, after)
    collector, start, batches = accumulator.Accumulator(2, GAMMA), 0, []
    for size in sizes:
        batches.append(collector.add(steps._make(one[start : start + size] for one in steps)))
        start += size
    batch = accumulator.MaskedTransitions(*map(np.concatenate, zip(*batches, strict=True)))
    np.testing.assert_array_equal(batch.a_tm1, [0, 10, 20])
    np.testing.assert_array_equal(batch.legal_tm1, np.uint8(BITS[:3]), strict=True)
    np.testing.assert_array_equal(batch.legal_t, np.uint8([[1, 2], [1, 2], BITS[0]]), strict=True)


def test_add_of_masked_steps_changes_no_other_column():
    steps = make_steps(np.arange(12).reshape(6, 2), terminated=np.arange(12).reshape(6, 2) % 5 == 4)
    plain = accumulator.Accumulator(3, GAMMA).add(steps)
    legal = np.ones((6, 2, 3), bool)
    for x, y in zip(plain, accumulator.Accumulator(3, GAMMA).add(masked(steps, legal, legal)), strict=False):
        np.testing.assert_array_equal(x, y, strict=True)
    assert (plain.legal_tm1, plain.legal_t) == (None, None)
