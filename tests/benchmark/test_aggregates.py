"""Statistics over seeds against plain ones."""

import numpy as np
import pytest

from dqn_tf.benchmark import aggregates, learning_curves
from tests.benchmark import made


@pytest.mark.parametrize("count", [2, 3, 4, 7, 10, 40])
def test_aggregate_is_mean_deviation_and_the_mean_of_the_middle_half(count):
    values = np.random.default_rng(count).normal(100, 30, count)
    found = aggregates.aggregate(values)
    assert found.mean == pytest.approx(values.mean()) and found.std == pytest.approx(values.std(ddof=1))
    assert found.iqm == pytest.approx(made.interquartile_mean(values))
    assert values.min() <= found.low <= found.iqm <= found.high <= values.max()


def test_interval_is_the_middle_of_95_percent_of_resampled_middle_halves():
    generator = np.random.default_rng(5)
    values = generator.normal(0, 1, 10)
    resampled = sorted(made.interquartile_mean(generator.choice(values, 10)) for _ in range(20_000))
    found = aggregates.aggregate(values)
    assert found.low == pytest.approx(resampled[500], abs=0.05)
    assert found.high == pytest.approx(resampled[-500], abs=0.05)


def test_interval_covers_the_mean_of_most_samples():
    generator = np.random.default_rng(6)
    bounds = [aggregates.mean_interval(generator.normal(3, 1, 10)) for _ in range(60)]
    assert 48 <= sum(low <= 3 <= high for low, high in bounds) <= 60


def test_single_value_has_no_interval():
    assert aggregates.aggregate([7.0]) == (7.0, 0.0, 7.0, None, None)


def test_equal_values_have_an_interval_of_no_width():
    assert aggregates.aggregate([500.0] * 10) == (500.0, 0.0, 500.0, 500.0, 500.0)


def test_seed_that_ended_sooner_keeps_its_last_value_in_the_band():
    curves = [[(100, 1.0), (200, 2.0), (300, 3.0)], [(100, 3.0), (200, 6.0)], [(100, 2.0), (200, 4.0), (300, 9.0)]]
    steps, mean, low, high = learning_curves.band(curves)
    assert steps.tolist() == [100, 200, 300] and mean.tolist() == [2.0, 4.0, 6.0]
    assert low.tolist() == [1.0, 2.0, 3.0] and high.tolist() == [3.0, 6.0, 9.0]


def test_band_of_one_seed_is_its_curve():
    steps, mean, low, high = learning_curves.band([[(100, 1.0), (200, 2.0)]])
    assert mean.tolist() == low.tolist() == high.tolist() == [1.0, 2.0]
