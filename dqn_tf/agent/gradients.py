"""Gradients of a batch's loss: those of one replica's part, packed for the way, and those of the whole batch."""

import keras
import tensorflow as tf

from dqn_tf.agent import losses
from dqn_tf.config.schema import Learning
from dqn_tf.distribution import factors, packing
from dqn_tf.distribution import strategy as strategy_lib

METRICS = ("loss", "q_mean", "td_error_mean")


class Gradients:
    """Gradients of the mean loss over the global batch, and means of METRICS.

    Each replica packs the gradients of its part and its sums of the metrics into one vector, so that one all-reduce
    sums it over all replicas. One replica alone packs nothing: the copies would cost as much as the optimizer.
    """

    def __init__(
        self,
        placement: strategy_lib.Placement,
        network: keras.Model,
        target: keras.Model,
        learning: Learning,
        batch_size: int,
        jit_compile: bool,
        wire_precision: str,
    ):
        """Prepares the gradients of `network`, whose variables exist.

        Args:
          batch_size: transitions of one update, over all replicas.
          jit_compile: whether XLA compiles the gradients of a replica.
          wire_precision: dtype of the gradients in the all-reduce, float32 or bfloat16.
        """
        self._placement = placement
        self._network = network
        self._target = target
        self._double_q = learning.double_q
        self._loss = losses.LOSSES[learning.loss]
        self._batch_size = batch_size
        self._wire_dtype = tf.as_dtype(wire_precision)
        self._factored = factors.of(network, batch_size) if placement.num_workers > 1 else None
        self._metrics_shape = (placement.num_replicas, 2, len(METRICS))
        self._shapes = [variable.shape for variable in network.trainable_variables]
        if self._factored:
            del self._shapes[self._factored.position]
        self._of_tensors = tf.function(self._replica_gradients, jit_compile=jit_compile, autograph=False)

    @property
    def num_sent(self) -> int:
        """Returns how many numbers the all-reduce sums, 0 where there is none."""
        if self._placement.num_replicas == 1:
            return 0
        shared = self._batch_size * sum(self._factored.shape) if self._factored else 0
        return sum(map(packing.size, self._shapes)) + shared + packing.size(self._metrics_shape)

    def of_replica(self, batch):
        """Returns what `of_all` makes the gradients from. In replica context.

        Args:
          batch: Transitions [b, ...] of this replica.
        """
        weights = [variable.value for variable in self._network.trainable_variables]
        target_weights = [variable.value for variable in self._target.variables]
        gradients, sums, pair = self._of_tensors(weights, target_weights, tuple(batch))
        if self._placement.num_replicas == 1:
            return gradients, sums
        if pair:
            gradients = [*gradients, *map(self._in_my_place, pair)]
        # The sums of the metrics go in two parts of 8 bits each, and zeros are added to them: nearly exact.
        high = tf.cast(sums, self._wire_dtype)
        low = tf.cast(sums - tf.cast(high, tf.float32), self._wire_dtype)
        metrics = self._in_my_place(tf.stack([high, low]))
        return packing.pack([tf.cast(tensor, self._wire_dtype) for tensor in (*gradients, metrics)])

    def of_all(self, result):
        """Returns gradients, in order of the weights, and metrics <float32>[3]. In cross-replica context."""
        if self._placement.num_replicas == 1:
            return result
        packed = tf.cast(self._placement.sum(result), tf.float32)
        shapes = list(self._shapes)
        if self._factored:
            shapes += [(self._batch_size, size) for size in self._factored.shape]
        *gradients, metrics = packing.unpack(packed, [*shapes, self._metrics_shape])
        if self._factored:
            *gradients, x, g = gradients
            gradients.insert(self._factored.position, tf.matmul(x, g, transpose_a=True))
        return gradients, tf.reduce_sum(metrics, axis=(0, 1))

    def _in_my_place(self, rows):
        """Returns the rows [b, ...] of this replica among zeros for those of all others, [B, ...]."""
        num_replicas = self._placement.num_replicas
        places = tf.one_hot(self._placement.replica(), num_replicas, dtype=rows.dtype)
        return places[:, tf.newaxis, tf.newaxis] * rows[tf.newaxis]  # [R, b, ...]

    def _replica_gradients(self, weights, target_weights, batch):
        """Returns gradients of this replica's part of the loss, its sums of the metrics, and the pair of factors.

        A function of tensors alone: XLA refuses variables of another device, such as a second logical CPU.
        """
        s_tm1, a_tm1, r_t, discount_t, s_t = batch
        q_t = self._values(target_weights, s_t)  # [b, A]
        selector = self._values(weights, s_t) if self._double_q else q_t
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            sources = list(weights)
            if self._factored:
                q_tm1, x, z = self._factored.values(weights, s_tm1)
                sources[self._factored.position] = z
            else:
                q_tm1 = self._values(weights, s_tm1)  # [b, A]
            error = losses.td_error(q_tm1, a_tm1, r_t, discount_t, q_t, selector)  # [b]
            # Divided once, by the global batch: the sum over replicas is then the mean over the batch.
            loss = tf.reduce_sum(self._loss(error)) / self._batch_size
        gradients = tape.gradient(loss, sources)
        pair = (x, gradients.pop(self._factored.position)) if self._factored else ()
        q_mean = tf.reduce_sum(tf.reduce_mean(q_tm1, axis=-1)) / self._batch_size
        td_error_mean = tf.reduce_sum(tf.abs(error)) / self._batch_size
        return gradients, tf.stack([loss, q_mean, td_error_mean]), pair

    def _values(self, weights, observation):
        values, _ = self._network.stateless_call(weights, [], observation)
        return values
