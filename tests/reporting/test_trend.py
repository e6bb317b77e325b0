"""A run that was still improving is told from one that was not."""

import numpy as np
import pytest

from dqn_tf.reporting import trend


@pytest.mark.parametrize(
    "returns, expected",
    [
        (range(10), True),
        (range(40), True),
        ([9.0, 20.0, 100.0, 300.0, 500.0, 500.0, 500.0, 500.0, 500.0], False),  # solved
        ([500.0] * 12, False),
        (range(40, 0, -1), False),
        ([0, 100] * 10, False),  # it varies, and that is all
        ([*range(20), *[20.0] * 20, *[20.1] * 20], False),  # so little is not worth another run
    ],
)
def test_trend_is_of_the_last_two_thirds(returns, expected):
    returns = list(map(float, returns))
    found, count = trend.find(returns), len(returns) // 3
    assert found.is_improving == expected
    assert found.last == pytest.approx(np.mean(returns[-count:]))
    assert found.before == pytest.approx(np.mean(returns[-2 * count : -count]))


@pytest.mark.parametrize("count", [9, 10, 12, 20, 40, 100])
def test_noise_is_seldom_taken_for_a_trend(count):
    generator = np.random.default_rng(count)
    found = [trend.find(generator.normal(100, 20, count)).is_improving for _ in range(400)]
    assert np.mean(found) < 0.05


def test_few_evaluations_have_no_trend():
    assert trend.find([1.0] * 8) is None and trend.find([]) is None
