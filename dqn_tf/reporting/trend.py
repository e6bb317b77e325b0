"""Whether a run was still improving when it ended."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_FEWEST = 9  # evaluations: three in a third
# Student's t, one-sided 97.5 %, by the evaluations in a third.
_STANDARD_ERRORS = {3: 2.78, 4: 2.45, 5: 2.31, 6: 2.23, 7: 2.18, 8: 2.14}
_OF_MANY = 2.1
_SHARE_OF_RANGE = 0.02  # of all evaluations: smaller gains are not worth another run


class Trend(NamedTuple):
    """Mean return of the evaluations in the last third of a run, and in the third before."""

    before: float
    last: float
    is_improving: bool


def find(returns: Sequence[float]) -> Trend | None:
    """Returns the trend of the evaluations of a run, in their order; None if there are fewer than nine.

    A run improves if the last mean is higher by more than chance would have it (Student's t), and by more than 2 % of
    the range of all.
    """
    if len(returns) < _FEWEST:
        return None
    count = len(returns) // 3
    before, last = np.array(returns[-2 * count : -count]), np.array(returns[-count:])
    error = np.sqrt((before.var(ddof=1) + last.var(ddof=1)) / count)
    least = max(_STANDARD_ERRORS.get(count, _OF_MANY) * error, _SHARE_OF_RANGE * np.ptp(returns))
    gain = float(last.mean() - before.mean())
    return Trend(float(before.mean()), float(last.mean()), gain > least)
