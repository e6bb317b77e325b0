"""Running mean and variance of all observations, over all workers, for --normalize_observations.

They are counted in float64 beside the network, which gets them at the end of each round. Moments of parts are joined
as Chan et al. 1979 do it ("Updating formulae and a pairwise algorithm for computing sample variances").
"""

from collections.abc import Sequence

import keras
import numpy as np

from dqn_tf.agent.layers import ObservationNormalization
from dqn_tf.distribution.strategy import Placement


class ObservationStatistics:
    """Counts observations, and sets the layers that normalize by them.

    Attributes:
      moments: <float64>[1 + 2 D] count, mean and sum of squared deviations of the D numbers of an observation.
    """

    def __init__(self, placement: Placement, networks: Sequence[keras.Model], size: int):
        """Prepares, with no observation yet.

        Args:
          networks: those that learn; others get the layers' weights with all weights.
          size: D.
        """
        self._placement = placement
        layers = [layer for network in networks for layer in network._flatten_layers()]
        self._layers = [layer for layer in layers if isinstance(layer, ObservationNormalization)]
        self.moments = np.zeros(1 + 2 * size)

    def add(self, observations: np.ndarray) -> None:
        """Counts those that all workers have seen, [M, *obs] each. All workers must call it."""
        rows = observations.reshape(len(observations), len(self.moments) // 2).astype(np.float64)
        mean = rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[1])
        mine = np.concatenate([[len(rows)], mean, np.square(rows - mean).sum(axis=0)])
        for theirs in self._placement.gather(mine[np.newaxis]):
            self.moments = _joined(self.moments, theirs)
        self._set()

    def restore(self, moments: np.ndarray) -> None:
        """Goes on from `moments` of a checkpoint."""
        self.moments = moments
        self._set()

    def _set(self):
        count, mean, squares = self.moments[0], *np.split(self.moments[1:], 2)
        if not count:
            return
        for layer in self._layers:
            layer.mean.assign(mean.reshape(layer.mean.shape).astype(np.float32))
            layer.variance.assign((squares / count).reshape(layer.mean.shape).astype(np.float32))


def _joined(first, second):
    """Returns the moments of the numbers of both."""
    count = first[0] + second[0]
    if not second[0]:
        return first
    (mean_a, squares_a), (mean_b, squares_b) = np.split(first[1:], 2), np.split(second[1:], 2)
    delta, share = mean_b - mean_a, second[0] / count
    squares = squares_a + squares_b + np.square(delta) * first[0] * share
    return np.concatenate([[count], mean_a + delta * share, squares])
