"""The update, the same under every strategy: from batches of transitions to new weights.

Transitions -> online and target network -> loss -> gradients -> sum over replicas -> clipping -> optimizer -> target.
Each replica computes the gradients of its part of a batch. What follows their sum happens once, in cross-replica
context.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from dqn_tf.agent import optimizers
from dqn_tf.agent.losses import Loss
from dqn_tf.config.schema import Learning
from dqn_tf.distribution import noise, packing
from dqn_tf.distribution.reducer import Reducer
from dqn_tf.distribution.stateless import StatelessNetwork, TargetNetwork
from dqn_tf.experience import accumulator
from dqn_tf.experience.accumulator import Transitions

METRICS = ("loss", "q_mean", "td_error_mean", "gradient_norm")


class Update:
    """K updates of a Q-network, as a function that TensorFlow can trace and XLA can compile."""

    def __init__(
        self,
        reducer: Reducer,
        network: StatelessNetwork,
        target: keras.Model,
        optimizer: keras.Optimizer,
        loss: Loss,
        learning: Learning,
        batch_size: int,
        seeds: Sequence[int],
        observed: Callable[[Transitions, int], Transitions] | None,
    ):
        """Prepares. See Learner.

        Args:
          batch_size: transitions of one update, over all replicas that share their gradients.
          seeds: of the network's generators of random numbers.
        """
        self._reducer, self._placement = reducer, reducer.placement
        self._network, self._target, self._optimizer = network, target, optimizer
        self._loss, self._learning, self._batch_size, self._seeds = loss, learning, batch_size, seeds
        self._observed, self._places = observed, self._placement.each(lambda i: i)

    def function(self, is_prioritized: bool, jit_compile: bool) -> Callable[..., tuple[tf.Tensor, ...]]:
        """Returns __call__ as a tf.function of columns, which XLA compiles if it is told to; of several replicas, the
        gradients alone. All functions of an Update are told the same.
        """
        one_replica = self._placement.num_replicas == 1
        self.is_compiled = jit_compile and one_replica
        self._of_tensors = tf.function(self._gradients, jit_compile=jit_compile and not one_replica, autograph=False)
        return tf.function(
            lambda *given: self(given, is_prioritized), jit_compile=self.is_compiled, autograph=False
        )

    def __call__(self, given: Sequence[Any], is_prioritized: bool) -> tuple[tf.Tensor, ...]:
        """Makes K updates, and returns the means of METRICS over them, <float32>[4].

        Args:
          given: per-replica values of the columns of Transitions [K, b, ...].
          is_prioritized: importance weights [K, b] follow them, and priorities [K, b] are returned too.
        """
        num_updates = self._placement.local(given[0]).shape[0]

        def update(k, metrics, *priorities):
            sent, counts, priority = self._placement.run(self._of_replica, (given, k, is_prioritized, self._places))
            gradients, sums = self._reducer.sum(sent)
            if self._network.state:
                sums = self._set_state(sums, counts)
            metrics += tf.concat([sums, [self._apply(gradients)]], axis=0)
            self._update_target()
            return k + 1, metrics, *(one.write(k, self._placement.joined(priority)) for one in priorities)

        # Not `for k in tf.range`: AutoGraph would rewrite all that is called here, a second of every start.
        begin = (tf.constant(0), tf.zeros([len(METRICS)]))
        begin += (tf.TensorArray(tf.float32, num_updates),) if is_prioritized else ()
        _, metrics, *priorities = tf.while_loop(
            lambda k, *_: k < num_updates, update, begin, maximum_iterations=num_updates
        )
        return metrics / num_updates, *(one.stack() for one in priorities)

    def _of_replica(self, given, k, is_prioritized, place):
        """Returns what this replica sends, new values of state that is not sent, and priorities. In replica context."""
        batch = [tensor[k] for tensor in given]
        weight = [batch.pop()] if is_prioritized else []
        if self._observed:
            batch = list(self._observed(accumulator.of_columns(batch), place))
        networks = self._network.values_of(self._network.model), self._network.values_of(self._target)
        update = self._optimizer.iterations.value
        gradients, sums, *others = self._of_tensors(networks, batch, weight, update, self._placement.replica())
        return self._reducer.pack(gradients, sums), *others

    def _gradients(self, networks, batch, weight, update, replica):
        """Returns gradients and sums over this replica's part of the batch, as a function of tensors alone."""
        network, num_replicas, transitions = self._network, self._placement.num_replicas, accumulator.of_columns(batch)
        online = self._reducer.online(*networks[0], network.seeds(self._seeds, update))
        target = TargetNetwork(network, *networks[1], network.seeds(self._seeds, update, is_target=True))
        with contextlib.ExitStack() as stack:
            if self._seeds and num_replicas > 1:
                transitions = stack.enter_context(noise.of_all_replicas(num_replicas, replica, transitions))
            tape = stack.enter_context(tf.GradientTape(watch_accessed_variables=False))
            tape.watch(networks[0][0])
            loss, priority = self._loss(online, target, transitions)  # [b], [b]
            for one in weight:
                loss *= one
            # Divided once, by the global batch: the sum over replicas is then the mean over the batch.
            loss = tf.reduce_sum(loss) / self._batch_size
            total = loss + sum(online.losses) / num_replicas if online.losses else loss
        gradients = online.gradients(tape, total)
        q_mean = tf.reduce_sum(tf.reduce_mean(network.head(online.outputs), axis=-1)) / self._batch_size
        sums = tf.stack([loss, q_mean, tf.reduce_sum(priority) / self._batch_size])
        means, counts = network.told_apart(online.state)
        if means:
            sums = tf.concat([sums, packing.pack([tf.cast(one, tf.float32) for one in means]) / num_replicas], axis=0)
        return gradients, sums, counts, priority

    def _set_state(self, sums, counts):
        """Gives the network's state its new values, and returns the sums that are left. In cross-replica context."""
        num_left, (averaged, counters) = len(METRICS) - 1, self._network.told_apart(self._network.state)
        values = packing.unpack(sums[num_left:], [one.shape for one in averaged]) if averaged else []
        values += [self._placement.local(value) for value in counts]  # the same on all replicas
        for variable, value in zip([*averaged, *counters], values, strict=True):
            variable.assign(tf.cast(value, variable.dtype))
        return sums[:num_left]

    def _apply(self, gradients):
        """Applies the summed gradients, in cross-replica context, and returns their norm."""
        norm = tf.linalg.global_norm(gradients)
        if self._learning.clip_norm:
            gradients = optimizers.clipped(gradients, norm, self._learning.clip_norm, self.is_compiled)
        optimizers.apply(self._optimizer, gradients, self._network.trainable, self._placement, self.is_compiled)
        return norm

    def _update_target(self):
        period = self._learning.target_update_period
        if period == 0:
            self.copy_to_target(self._learning.target_update_rate)
        else:
            is_due = self._optimizer.iterations % period == 0
            tf.cond(is_due, lambda: self.copy_to_target(1.0), lambda: None)

    def copy_to_target(self, rate: float) -> None:
        """Moves the target's trainable weights by `rate` of the distance, and copies others, such as moving means."""
        for online, target in zip(self._network.model.weights, self._target.weights, strict=True):
            is_whole = rate == 1.0 or not online.trainable
            target.assign(online if is_whole else target + rate * (online - target))
