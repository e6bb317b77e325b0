"""Another algorithm for several workers: each learns on its own, and their states are averaged now and then.

Local SGD (Stich 2019, arXiv:1805.09767), with Adam's moments and the target network averaged as the weights are, so
that after each average all workers hold the same state.
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from dqn_tf.agent.learner import METRICS, Learner
from dqn_tf.config.schema import Learning
from dqn_tf.distribution import packing
from dqn_tf.distribution import strategy as strategy_lib


class AveragingLearner(Learner):
    """A Learner whose workers share nothing for `period` updates and then the means of all they hold."""

    def __init__(
        self,
        placement: strategy_lib.Placement,
        build_network: Callable[[], keras.Model],
        learning: Learning,
        batch_size: int,
        total_updates: int,
        jit_compile: bool,
        period: int,
    ):
        """Creates the variables in the scope of `placement`, which has one replica on each worker.

        Args:
          batch_size: transitions of one update, over all workers.
          period: updates between two averages.
        """
        worker_batch_size = batch_size // placement.num_workers
        super().__init__(placement.alone(), build_network, learning, worker_batch_size, total_updates, jit_compile)
        self._everyone = placement
        self._period = period
        self._average = tf.function(self._averaged, autograph=False)

    @property
    def num_sent(self) -> int:
        """Returns how many numbers the all-reduce of an average sums."""
        return sum(packing.size(variable.shape) for variable in self._state()) + len(METRICS)

    def update(self, batches) -> np.ndarray:
        """Makes K updates, K a multiple of the period; returns the means over them and all workers of METRICS."""
        metrics = []
        for start in range(0, len(batches.a_tm1), self._period):
            part = type(batches)(*(column[start : start + self._period] for column in batches))
            metrics.append(self._average(super().update(part)).numpy())
        return np.mean(metrics, axis=0)

    def _state(self):
        """Returns the variables that are averaged: all but counters."""
        variables = (*self.network.variables, *self.target.variables, *self.optimizer.variables)
        return [variable for variable in variables if variable.dtype == "float32"]

    def _averaged(self, metrics):
        """Replaces the state by its mean over all workers, and returns that of `metrics`. In cross-replica context."""
        state = self._state()
        packed = packing.pack([*state, metrics])
        mean = self._everyone.sum(self._everyone.run(tf.identity, (packed,))) / self._everyone.num_workers
        *values, metrics = packing.unpack(mean, [*(variable.shape for variable in state), metrics.shape])
        for variable, value in zip(state, values, strict=True):
            variable.assign(value)
        return metrics
