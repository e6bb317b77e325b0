"""Chooses among legal actions."""

import numpy as np


def greedy(values: np.ndarray, legal: np.ndarray | None) -> np.ndarray:
    """Returns <int64>[N] the legal actions of largest value, of equal ones the first.

    Args:
      values: <float32>[N, A]
      legal: <bool>[N, A], at least one in each row; None: all are.
    """
    return (values if legal is None else np.where(legal, values, -np.inf)).argmax(axis=-1)


def uniform(legal: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """Returns <int32>[N] legal actions that are uniformly distributed if `fraction` is, <float64>[N] in [0, 1).

    Args:
      legal: <bool>[N, A], at least one in each row.
    """
    # The product is rounded, but never up to the number of actions.
    number = (fraction * legal.sum(axis=-1)).astype(np.int64)  # among the legal ones
    return (legal.cumsum(axis=-1) > number[:, np.newaxis]).argmax(axis=-1).astype(np.int32)
