"""Another algorithm for several workers: each learns on its own, and their states are averaged now and then.

Local SGD (Stich 2019, arXiv:1805.09767), with Adam's moments and the target network averaged as the weights are, so
that after each average all workers hold the same state.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from dqn_tf.distribution import packing
from dqn_tf.distribution.reducer import GradientSum
from dqn_tf.distribution.stateless import StatelessNetwork
from dqn_tf.distribution.strategy import Placement


class Averaging(GradientSum):
    """Lets workers share nothing for `period` updates, and then the means of all they hold. See Reducer."""

    def __init__(self, placement: Placement, period: int):
        """Prepares; each worker has one replica.

        Args:
          period: updates between two averages.
        """
        super().__init__(placement.alone())
        self.num_learners = placement.num_workers
        self._everyone = placement
        self._period = period
        self._average = tf.function(self._averaged, autograph=False)

    def prepare(
        self, network: StatelessNetwork, batch_size: int, num_sums: int, variables: Sequence[Any]
    ) -> None:
        super().prepare(network, batch_size, num_sums, variables)
        self._state = [variable for variable in variables if variable.dtype == "float32"]  # all but counters
        self._num_metrics = num_sums + 1  # and the gradient's norm

    @property
    def num_sent(self) -> int:
        return sum(packing.size(variable.shape) for variable in self._state) + self._num_metrics

    def parts(self, num_updates: int) -> Iterator[slice]:
        for start in range(0, num_updates, self._period):
            yield slice(start, start + self._period)

    def finish(self, metrics: tf.Tensor) -> tf.Tensor:
        return self._average(metrics)

    def _averaged(self, metrics):
        """Replaces the state by its mean over all workers, and returns that of `metrics`. In cross-replica context."""
        packed = packing.pack([*self._state, metrics])
        mean = self._everyone.sum(self._everyone.run(tf.identity, (packed,))) / self._everyone.num_workers
        *values, metrics = packing.unpack(mean, [*(variable.shape for variable in self._state), metrics.shape])
        for variable, value in zip(self._state, values, strict=True):
            variable.assign(value)
        return metrics
