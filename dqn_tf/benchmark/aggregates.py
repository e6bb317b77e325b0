"""Statistics over the seeds of a setting, by scipy: mean, interquartile mean, bootstrap intervals.

After Agarwal et al. 2021, arXiv:2108.13264: with few seeds, an interval says more than a standard deviation, and the
mean of the middle half of the runs is not moved by one run that fails.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_RESAMPLES = 9_999
_QUARTER = 0.25


class Aggregate(NamedTuple):
    """Of the values of several seeds.

    Attributes:
      std: of the values, with n - 1; 0 of a single one.
      iqm: the mean without the lowest and the highest quarter of the values, of four and more.
      low, high: 95 % bootstrap interval of iqm; None of a single value.
    """

    mean: float
    std: float
    iqm: float
    low: float | None
    high: float | None


def aggregate(values: Sequence[float]) -> Aggregate:
    """Returns the statistics of the values of at least one seed."""
    from scipy import stats

    array = np.asarray(values, np.float64)
    bounds = _interval(array, lambda sample, axis: stats.trim_mean(sample, _QUARTER, axis=axis))
    std = float(array.std(ddof=1)) if len(array) > 1 else 0.0
    return Aggregate(float(array.mean()), std, float(stats.trim_mean(array, _QUARTER)), *bounds)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Returns the 95 % bootstrap interval of the mean; of a single value the value itself."""
    array = np.asarray(values, np.float64)
    low, high = _interval(array, np.mean)
    return (float(array[0]), float(array[0])) if low is None else (low, high)


def _interval(array, statistic):
    from scipy import stats

    if len(array) < 2:
        return None, None
    found = stats.bootstrap(
        (array,), statistic, n_resamples=_RESAMPLES, method="percentile", vectorized=True, rng=np.random.default_rng(0)
    ).confidence_interval
    return float(found.low), float(found.high)
