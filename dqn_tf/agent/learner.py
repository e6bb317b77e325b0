"""The learner: network, target and optimizer, and the tf.function of K updates."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from dqn_tf.agent import gradients, optimizers
from dqn_tf.config.schema import Learning
from dqn_tf.distribution import packing
from dqn_tf.distribution import strategy as strategy_lib

METRICS = (*gradients.METRICS, "gradient_norm")


class Learner:
    """Updates a Q-network from batches of transitions, alike under every placement.

    Each replica computes the gradients of its part; one all-reduce sums them over all replicas; clipping, the
    optimizer and the target follow in cross-replica context, once.

    Attributes:
      network, target: the online and the target Q-network.
      optimizer: the Keras optimizer; its `iterations` counts the updates.
    """

    def __init__(
        self,
        placement: strategy_lib.Placement,
        build_network: Callable[[], keras.Model],
        learning: Learning,
        batch_size: int,
        total_updates: int,
        jit_compile: bool,
        wire_precision: str = "float32",
    ):
        """Creates the variables in the scope of `placement`.

        Args:
          batch_size: transitions of one update, over all replicas.
          total_updates: the horizon of a linear or cosine learning rate.
          jit_compile: whether XLA compiles the whole loop of updates, or the gradients where there are replicas.
          wire_precision: dtype of the gradients in the all-reduce, float32 or bfloat16.
        """
        self._placement = placement
        self._learning = learning
        with placement.scope():
            self.network, self.target = build_network(), build_network()
            self.target.trainable = False
            self.optimizer = optimizers.create(learning, total_updates)
            self.optimizer.build(self.network.trainable_variables)
        self._copy_to_target(1.0)
        one_replica = placement.num_replicas == 1
        self._is_compiled = jit_compile and one_replica  # the whole loop
        self._gradients = gradients.Gradients(
            placement, self.network, self.target, learning, batch_size, jit_compile and not one_replica, wire_precision
        )
        self._shapes = [variable.shape for variable in self.network.trainable_variables]
        # One call for all weights: reading them one by one takes 1.4 ms from Python, longer than a short round.
        self._packed_weights = tf.function(lambda: packing.pack(self.network.trainable_variables), autograph=False)
        self._updates = tf.function(self._many_updates, jit_compile=self._is_compiled, autograph=False)

    @property
    def num_sent(self) -> int:
        """Returns how many numbers the all-reduce of an update sums, 0 where there is none."""
        return self._gradients.num_sent

    @property
    def num_traces(self) -> int:
        """Returns how often the K updates were traced: 1, or every call pays for a compilation."""
        return self._updates.experimental_get_tracing_count()

    @property
    def num_updates(self) -> int:
        return int(self.optimizer.iterations.numpy())

    @property
    def learning_rate(self) -> float:
        return float(np.asarray(self.optimizer.learning_rate).item())

    def weights(self) -> list[np.ndarray]:
        """Returns a copy of the online network's weights, in the order of `network.weights`."""
        ends = np.cumsum([packing.size(shape) for shape in self._shapes])
        arrays = np.split(self._packed_weights().numpy(), ends[:-1])
        return [array.reshape(shape) for array, shape in zip(arrays, self._shapes, strict=True)]

    def update(self, batches) -> np.ndarray:
        """Makes K updates and returns the means over them of METRICS, <float32>[4].

        Args:
          batches: Transitions of arrays [K, b, ...], b the part of the batch that is this worker's.
        """
        return self._updates(self._placement.split(batches)).numpy()

    def _many_updates(self, batches):
        num_updates = self._placement.local(batches.a_tm1).shape[0]

        def update(k, metrics):
            result = self._placement.run(self._replica_step, (batches, k))
            summed, means = self._gradients.of_all(result)
            metrics += tf.concat([means, [self._apply(summed)]], axis=0)
            self._update_target()
            return k + 1, metrics

        # Not `for k in tf.range`: AutoGraph would rewrite all that is called here, a second of every start.
        begin = (tf.constant(0), tf.zeros([len(METRICS)]))
        _, metrics = tf.while_loop(lambda k, _: k < num_updates, update, begin, maximum_iterations=num_updates)
        return metrics / num_updates

    def _replica_step(self, batches, k):
        return self._gradients.of_replica([tensor[k] for tensor in batches])

    def _apply(self, summed):
        """Applies the summed gradients, in cross-replica context, and returns their norm."""
        norm = tf.linalg.global_norm(summed)
        if self._learning.clip_norm:
            summed = self._clipped(summed, norm)
        variables = self.network.trainable_variables
        optimizers.apply(self.optimizer, summed, variables, self._placement, self._is_compiled)
        return norm

    def _clipped(self, summed, norm):
        limit = self._learning.clip_norm
        if self._is_compiled:  # XLA fuses the products into what follows, and branches at a cost
            scale = limit / tf.maximum(norm, limit)
            return [gradient * scale for gradient in summed]
        return tf.cond(norm > limit, lambda: [gradient * (limit / norm) for gradient in summed], lambda: list(summed))

    def _update_target(self):
        period = self._learning.target_update_period
        if period == 0:
            self._copy_to_target(self._learning.target_update_rate)
        else:
            is_due = self.optimizer.iterations % period == 0
            tf.cond(is_due, lambda: self._copy_to_target(1.0), lambda: None)

    def _copy_to_target(self, rate):
        for online, target in zip(self.network.variables, self.target.variables, strict=True):
            target.assign(online if rate == 1.0 else target + rate * (online - target))
