"""The learner: a Q-network, its target and its optimizer, and the tf.function of K updates."""

import logging
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from dqn_tf.agent import heads, optimizers
from dqn_tf.agent.losses import Loss
from dqn_tf.agent.update import METRICS, Update
from dqn_tf.config.schema import Learning
from dqn_tf.distribution import packing
from dqn_tf.distribution.reducer import Reducer
from dqn_tf.distribution.stateless import StatelessNetwork, freeze
from dqn_tf.experience.accumulator import Transitions
from dqn_tf.experience.replay import Sample

_log = logging.getLogger(__name__)
_NOT_COMPILED = (tf.errors.InternalError, tf.errors.InvalidArgumentError, tf.errors.UnimplementedError)


class Learner:
    """Updates a Q-network from samples of transitions, with update.py.

    Attributes:
      network, target: the online and the target Q-network.
      optimizer: the Keras optimizer; its `iterations` counts the updates.
      jit_compile: whether XLA compiles the updates; False once it could not.
    """

    def __init__(
        self,
        reducer: Reducer,
        build_network: Callable[[], keras.Model],
        loss: Loss,
        learning: Learning,
        batch_size: int,
        decay_updates: int,
        jit_compile: bool,
        seeds: Callable[[int], int] = lambda number: number,
        observed: Callable[[Transitions, int], Transitions] | None = None,
    ):
        """Creates the variables in the scope of the reducer's placement.

        Args:
          batch_size: transitions of one update, over all replicas.
          decay_updates: length of a linear or cosine learning rate schedule.
          jit_compile: whether XLA compiles the whole loop of updates, or the gradients if there are several replicas.
          seeds: of the network's generators of random numbers, by their number.
          observed: makes the observations of samples that name them, see DeviceReplay; None: samples have them.
        """
        self._reducer, self._placement = reducer, reducer.placement
        with self._placement.scope():
            self.network, self.target = build_network(), build_network()
            is_state = freeze(self.target)
            self.optimizer = optimizers.create(learning, decay_updates)
            self.optimizer.build(self.network.trainable_variables)
        batch_size //= reducer.num_learners
        network = StatelessNetwork(self.network, heads.values_of(self.network), is_state)
        num_sums = len(METRICS) - 1 + sum(packing.size(one.shape) for one in network.told_apart(network.state)[0])
        variables = [*self.network.variables, *self.target.variables, *self.optimizer.variables]
        reducer.prepare(network, batch_size, num_sums, variables)
        seeds = [seeds(number) for number in range(network.num_seeds)]
        update = Update(reducer, network, self.target, self.optimizer, loss, learning, batch_size, seeds, observed)
        update.copy_to_target(1.0)
        self._update, self.jit_compile, self._has_run = update, jit_compile, False
        self._trace_anew()
        # One call for all weights: reading them one by one takes 1.4 ms from Python, longer than a short round.
        # To act on the device that learns, they need not come to the host at all.
        self._packed_weights = tf.function(lambda: packing.pack(self.network.weights), autograph=False)

    def trace(self, sample: Sample) -> None:
        """Traces the updates of samples like this one, which changes nothing: what a loss does wrong is told."""
        self._updates[sample.row is not None].get_concrete_function(*next(self._calls(sample)))

    @property
    def num_traces(self) -> int:
        """Returns how often the K updates were traced: 1, or every call pays for a compilation."""
        return sum(function.experimental_get_tracing_count() for function in self._updates)

    @property
    def num_updates(self) -> int:
        return int(self.optimizer.iterations.numpy())

    @property
    def learning_rate(self) -> float:
        return float(np.asarray(self.optimizer.learning_rate).item())

    def weights(self) -> Sequence[np.ndarray]:
        """Returns a copy of the online network's weights, in their order; Packed if all are float32."""
        if any(one.dtype != "float32" for one in self.network.weights):
            return self.network.get_weights()
        return packing.Packed(self._packed_weights(), [one.shape for one in self.network.weights])

    def _trace_anew(self):
        # Without and with priorities. TensorFlow is called with tensors alone: nests and others cost 1 ms a call.
        self._updates = [self._update.function(is_prioritized, self.jit_compile) for is_prioritized in (False, True)]

    def update(self, sample: Sample) -> tuple[np.ndarray, np.ndarray | None]:
        """Makes K updates; returns the means over them of METRICS, <float32>[4], and priorities <float32>[K, b].

        Args:
          sample: arrays [K, b, ...], b the part of the batch that is this worker's. If it names no rows, there are no
            priorities: None.
        """
        metrics, priorities, is_prioritized = [], [], sample.row is not None
        for columns in self._calls(sample):
            means, *priority = self._updated(columns, is_prioritized)
            metrics.append(self._reducer.finish(means).numpy())
            priorities += [one.numpy() for one in priority]
        return np.mean(metrics, axis=0), np.concatenate(priorities) if is_prioritized else None

    def _updated(self, columns, is_prioritized):
        try:
            result = self._updates[is_prioritized](*columns)
        except _NOT_COMPILED as error:
            if self._has_run or not self.jit_compile:
                raise
            _log.warning(
                "jit_compile: false, because XLA cannot compile this update (%s); give that to spare the attempt",
                str(error).split("\n")[0],
            )
            self.jit_compile = False  # what could not be compiled has changed nothing
            self._trace_anew()
            result = self._updates[is_prioritized](*columns)
        self._has_run = True
        return result

    def _calls(self, sample):
        """Yields the tensors that the updates of each call take: columns of Transitions, and importance weights."""
        given = [*sample.transitions, sample.importance_weight]
        given = [column for column in given if column is not None]
        for part in self._reducer.parts(len(sample.transitions.a_tm1)):
            yield self._placement.split([column[part] for column in given])
