"""The action mask in an info of `reset` or `step`, by gymnasium's convention: 1 for each action that is legal now."""

from typing import Any

import numpy as np

KEY = "action_mask"


def is_in(info: Any) -> bool:
    """Returns whether an info has an action mask."""
    return isinstance(info, dict) and KEY in info


def legal(given: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Returns masks of 0 and 1, in arrays or lists of any dtype, as <bool>[*shape].

    A tuple has a mask for each entry of a MultiDiscrete action, as gymnasium's `sample` takes it: an action is legal if
    all of its entries are.
    Raises:
      ValueError: they are not that.
    """
    mask = np.asarray(_joined(given) if isinstance(given, tuple) and given and np.ndim(given[0]) == 1 else given)
    if mask.shape != shape:
        raise ValueError(f"its shape is {list(mask.shape)}, not {list(shape)}")
    if mask.dtype == np.bool_:
        return mask.copy()
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError("it has other values than 0 and 1")
    return mask.astype(bool)


def _joined(parts):
    mask = np.ones(1, bool)
    for part in parts:
        mask = (mask[:, np.newaxis] & legal(part, (len(part),))).ravel()  # in C order, as actions are numbered
    return mask
