"""What replicas send each other in training: the one seam behind which packing, factors and precision are hidden.

The learner knows gradients of its part of the batch and wants those of the whole batch. How they get from one to the
other is a Reducer's business; so is it whether they are shared at all (averaging.py).
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import tensorflow as tf

from dqn_tf.distribution import factors, packing
from dqn_tf.distribution.stateless import Gradients, OnlineNetwork, StatelessNetwork, Tensors
from dqn_tf.distribution.strategy import Placement


class Reducer(Protocol):
    """Makes of the gradients of replicas those of the whole batch.

    Attributes:
      placement: where the learner computes.
      num_learners: how many learn each on its own, from a part of the batch.
      num_sent: how many numbers an all-reduce sums, 0 if there is none.
    """

    placement: Placement
    num_learners: int
    num_sent: int

    def prepare(self, network: StatelessNetwork, batch_size: int, num_sums: int, variables: Sequence[Any]) -> None:
        """Looks at what will be learned, which exists by now.

        Args:
          batch_size: transitions of one update of one learner.
          num_sums: how many sums over the batch come with the gradients.
          variables: of network, target and optimizer.
        """

    def online(self, weights: Tensors, state: Tensors, seeds: Tensors) -> OnlineNetwork:
        """Returns the online network for one update of a replica, so made that its gradients can be sent."""

    def pack(self, gradients: Gradients, sums: tf.Tensor) -> Any:
        """Returns what a replica sends. In replica context.

        Args:
          gradients: what `OnlineNetwork.gradients` has returned.
          sums: <float32>[M] this replica's part of sums over the batch.
        """

    def sum(self, sent: Any) -> tuple[Tensors, tf.Tensor]:
        """Returns the gradients, in order of the weights, and sums <float32>[M]. In cross-replica context."""

    def parts(self, num_updates: int) -> Iterator[slice]:
        """Yields the updates that are made in one call of the device, in order."""

    def finish(self, metrics: tf.Tensor) -> tf.Tensor:
        """Ends such a part; returns the metrics, <float32>[M], of all learners."""


class GradientSum:
    """Sums the gradients of all replicas in every update, with one all-reduce. See Reducer.

    Each replica packs the gradients of its part and its sums into one vector. One replica alone packs nothing: the
    copies would cost as much as the optimizer.
    """

    def __init__(self, placement: Placement, wire_precision: str = "float32"):
        """Prepares.

        Args:
          wire_precision: dtype of the gradients in the all-reduce, float32 or bfloat16.
        """
        self.placement, self.num_learners = placement, 1
        self._wire_dtype = tf.as_dtype(wire_precision)

    def prepare(
        self, network: StatelessNetwork, batch_size: int, num_sums: int, variables: Sequence[Any]
    ) -> None:
        self._network = network
        self._shape_of_sums = (self.placement.num_replicas, 2, num_sums)
        self._factored = factors.of(network, batch_size) if self.placement.num_workers > 1 else None
        self._shapes = [variable.shape for variable in network.trainable]
        if self._factored:
            del self._shapes[self._factored.position]
            self._shapes += [(batch_size, size) for size in self._factored.shape]

    @property
    def num_sent(self) -> int:
        if self.placement.num_replicas == 1:
            return 0
        return sum(map(packing.size, [*self._shapes, self._shape_of_sums]))

    def online(self, weights: Tensors, state: Tensors, seeds: Tensors) -> OnlineNetwork:
        if self._factored:
            return factors.FactoredOnlineNetwork(self._network, weights, state, seeds, self._factored)
        return OnlineNetwork(self._network, weights, state, seeds)

    def pack(self, gradients: Gradients, sums: tf.Tensor) -> Any:
        if self.placement.num_replicas == 1:
            return gradients, sums
        gradients, pair = gradients
        self._shapes[len(gradients) :] = [(self.placement.num_replicas * one.shape[0], one.shape[1]) for one in pair]
        gradients = [*gradients, *map(self._in_my_place, pair)]
        # The sums go in two parts of 8 bits each, and zeros are added to them: nearly exact at any precision.
        high = tf.cast(sums, self._wire_dtype)
        low = tf.cast(sums - tf.cast(high, tf.float32), self._wire_dtype)
        sums = self._in_my_place(tf.stack([high, low]))
        return packing.pack([tf.cast(tensor, self._wire_dtype) for tensor in (*gradients, sums)])

    def sum(self, sent: Any) -> tuple[Tensors, tf.Tensor]:
        if self.placement.num_replicas == 1:
            (gradients, _), sums = sent
            return gradients, sums
        packed = tf.cast(self.placement.sum(sent), tf.float32)
        *gradients, sums = packing.unpack(packed, [*self._shapes, self._shape_of_sums])
        if self._factored:
            *gradients, x, g = gradients
            gradients.insert(self._factored.position, tf.matmul(x, g, transpose_a=True))
        return gradients, tf.reduce_sum(sums, axis=(0, 1))

    def parts(self, num_updates: int) -> Iterator[slice]:
        yield slice(0, num_updates)

    def finish(self, metrics: tf.Tensor) -> tf.Tensor:
        return metrics

    def _in_my_place(self, rows):
        """Returns the rows [b, ...] of this replica among zeros for those of all others, [R, b, ...]."""
        places = tf.one_hot(self.placement.replica(), self.placement.num_replicas, dtype=rows.dtype)
        return places[:, tf.newaxis, tf.newaxis] * rows[tf.newaxis]
