"""The best weights that the evaluator task has found so far, and their return, in a file for the chief."""

import dataclasses
import json
import logging
import math
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from dqn_tf.persistence import archive
from dqn_tf.persistence.archive import Damaged

_log = logging.getLogger(__name__)

NAME = "best.npz"


@dataclasses.dataclass(frozen=True)
class Best:
    """Evaluations of a run up to a checkpoint.

    Attributes:
      evaluated_env_steps: of the newest evaluated checkpoint.
      last_return: mean return of that checkpoint.
      best_return: of the best checkpoint; if several are equal, of the last one.
      threshold_env_steps, threshold_seconds: see Progress.
      weights: of the best checkpoint.
    """

    evaluated_env_steps: int
    last_return: float
    best_return: float
    threshold_env_steps: int | None
    threshold_seconds: float | None
    weights: Sequence[np.ndarray]

    @property
    def told(self) -> dict[str, float | None]:
        """All but the weights, by the names of Progress."""
        return {one.name: getattr(self, one.name) for one in dataclasses.fields(self) if one.name != "weights"}


def add(
    best: Best | None,
    env_steps: int,
    mean: float,
    weights: Sequence[np.ndarray],
    threshold: float | None,
    wall_seconds: float,
) -> Best:
    """Returns `best` with one more evaluation: the mean return of the checkpoint at `env_steps`, the newest."""
    reached = best.threshold_env_steps if best else None, best.threshold_seconds if best else None
    if reached[0] is None and threshold is not None and mean >= threshold:
        reached = env_steps, wall_seconds
    if best is not None and mean < best.best_return:
        return Best(env_steps, mean, best.best_return, *reached, best.weights)
    return Best(env_steps, mean, mean, *reached, weights)


def write(directory: pathlib.Path, best: Best) -> None:
    """Writes `directory`/best.npz whole or not at all. Raises OSError."""
    partial = directory / f"{NAME}.new"
    weights = {str(i): array for i, array in enumerate(best.weights)}
    archive.write(partial, {"told": np.array(json.dumps(best.told)), **weights})
    os.replace(partial, directory / NAME)


def read(directory: pathlib.Path) -> Best | None:
    """Returns what `write` was given; None if there is no file, or, with a warning, if it is damaged."""
    path = directory / NAME
    if not path.exists():
        return None
    try:
        arrays = archive.read(path)
        told = json.loads(str(arrays.pop("told")))
        best = Best(**told, weights=[arrays[str(i)] for i in range(len(arrays))])
        steps, returns = (best.evaluated_env_steps,), (best.last_return, best.best_return)
        if not all(type(one) is int and one >= 0 for one in steps) or not all(map(math.isfinite, returns)):
            raise ValueError("its numbers are none")
        if not all(np.isfinite(weights).all() for weights in best.weights):
            raise ValueError("its weights are not finite")
        return best
    except (Damaged, LookupError, ValueError, TypeError, RecursionError) as error:
        _log.warning("%s cannot be used: %s", path, error)
        return None
