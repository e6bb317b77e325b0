"""Whether a run was still improving when it ended."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_FEWEST = 8  # evaluations: two in a quarter
_STANDARD_ERRORS = 2.0
_SHARE_OF_RANGE = 0.02  # of all evaluations: smaller gains are not worth another run


class Trend(NamedTuple):
    """Mean return of the evaluations in the last quarter of a run, and in the quarter before."""

    before: float
    last: float
    is_improving: bool


def find(returns: Sequence[float]) -> Trend | None:
    """Returns the trend of the evaluations of a run, in their order; None if there are fewer than eight.

    A run improves if the means differ by more than two standard errors, and by more than 2 % of the range of all.
    """
    if len(returns) < _FEWEST:
        return None
    count = len(returns) // 4
    before, last = np.array(returns[-2 * count : -count]), np.array(returns[-count:])
    error = np.sqrt((before.var(ddof=1) + last.var(ddof=1)) / count)
    least = max(_STANDARD_ERRORS * error, _SHARE_OF_RANGE * np.ptp(returns))
    gain = float(last.mean() - before.mean())
    return Trend(float(before.mean()), float(last.mean()), gain > least)
