"""The batches of a round: importance weights over all workers, and their exponent."""

import numpy as np
import pytest

from dqn_tf.config import settings
from dqn_tf.experience import accumulator, replay, sampling
from dqn_tf.training import batches

CONFIG = settings.build(
    dict(replay="prioritized", train_env_steps=1000, batch_size=8, round_env_steps=80, replay_ratio=0.5)
)


class Workers:
    """The placement of one of two workers, of which the other has a weight of `theirs`."""

    num_workers = 2

    def __init__(self, theirs):
        self.theirs = theirs

    def max(self, value):
        return max(value, self.theirs)


def make(sampler):
    buffer = replay.Replay(4, (), np.float32, np.random.default_rng(0), sampler)
    column = np.arange(2, dtype=np.float32)
    buffer.add(accumulator.Transitions(column, column.astype(np.int32), column, column, column))
    return buffer


@pytest.mark.parametrize("theirs, largest", [(0.1, (2 * 1 / 4) ** -0.4), (5.0, 5.0)])
def test_importance_weights_of_a_round_are_divided_by_the_largest_of_all_workers(theirs, largest):
    buffer = make(sampling.Prioritized(4, 1.0))
    buffer.update_priorities(np.array([[0, 1]]), np.array([[1, 3]], np.float32))
    sample = batches.sample(CONFIG, buffer, Workers(theirs), 0)
    assert sample.row.shape == (80 // 2, 8 // 2)
    expected = np.where(sample.row == 0, (2 * 1 / 4) ** -0.4, (2 * 3 / 4) ** -0.4) / largest
    np.testing.assert_allclose(sample.importance_weight, expected, rtol=1e-5)
    assert sample.importance_weight.dtype == np.float32


def test_uniform_batches_have_no_weights_and_need_no_other_worker():
    sample = batches.sample(CONFIG, make(sampling.Uniform()), Workers(theirs=None), 0)
    assert (sample.importance_weight, sample.row) == (None, None)
    assert sample.transitions.a_tm1.shape == (40, 4)


def test_importance_exponent_is_linear_in_the_env_steps_of_the_run():
    values = [batches.importance_exponent(CONFIG, env_steps) for env_steps in (0, 250, 500, 1000, 1040)]
    assert values == pytest.approx([0.4, 0.4 + 0.6 / 4, 0.4 + 0.6 / 2, 1.0, 1.0])
