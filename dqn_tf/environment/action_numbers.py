"""Actions by number: what a network chooses among, and what an environment takes.

Discrete actions are counted from the first. Those of MultiDiscrete and MultiBinary spaces are counted in C order, the
last entry first: number i is np.unravel_index(i, sizes of the entries).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

MOST = 4_096  # combinations of a space of several entries: a network has one output for each

Actions = spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary


def plain(space: Actions) -> Actions:
    """Returns an equal space of gymnasium's own class, without a generator."""
    if isinstance(space, spaces.Discrete):
        return spaces.Discrete(int(space.n), start=int(space.start))
    if isinstance(space, spaces.MultiDiscrete):
        return spaces.MultiDiscrete(space.nvec, space.dtype, start=space.start)
    return spaces.MultiBinary(space.n)


def count(space: Actions) -> int:
    """Returns the number of actions; it may be huge."""
    return int(space.n) if isinstance(space, spaces.Discrete) else math.prod(map(int, _sizes(space)))


def own(space: Actions, number: np.ndarray) -> np.ndarray:
    """Returns the environment's own actions for numbers <int>[...], in [0, count).

    Of a Discrete space <int64>[...], of others in the space's dtype, [..., *shape].
    """
    if isinstance(space, spaces.Discrete):
        return int(space.start) + np.asarray(number, np.int64)
    entries = np.stack(np.unravel_index(number, _sizes(space)), axis=-1)  # [..., number of entries]
    start = space.start.ravel() if isinstance(space, spaces.MultiDiscrete) else 0
    return (entries + start).reshape(*np.shape(number), *space.shape).astype(space.dtype)


def table(space: Actions) -> Sequence[Any]:
    """Returns what `step` of an environment takes, by number.

    In the dtype of the space: arithmetic of int32 overflows in other cases than that of int64.
    """
    if isinstance(space, spaces.Discrete):
        return [space.dtype.type(space.start + number) for number in range(space.n)]
    return _Copies(own(space, np.arange(count(space))))


def _sizes(space):
    """Returns how many values each entry can have, in C order."""
    return space.nvec.ravel() if isinstance(space, spaces.MultiDiscrete) else np.full(math.prod(space.shape), 2)


class _Copies(list):
    """A list of arrays that gives copies: an environment may write into what it gets."""

    def __getitem__(self, number):
        return np.array(super().__getitem__(number))
