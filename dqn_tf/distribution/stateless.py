"""A Keras model as a function of tensors: weights, state and seeds go in, outputs and the new state come out.

XLA refuses variables of another device, such as a second logical CPU; and what is a function of its seed alone is the
same under every strategy and after a resume.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

_CALLS = 64  # draws of one seed in one update, at most
_OF_TARGET = _CALLS // 2  # the target network draws numbers of its own


Tensors = Sequence[tf.Tensor]
# In order of the weights; and the factors x [b, M], g [b, N] of one that is not among them, or nothing.
Gradients = tuple[Tensors, tuple[tf.Tensor, ...]]


def freeze(model: keras.Model) -> list[bool]:
    """Freezes all weights of a model; returns which of them, in order, change without training, as moving means do."""
    layers = [layer for layer in model._flatten_layers() if not layer.trainable]
    frozen = {id(variable) for layer in layers for variable in layer.variables}
    model.trainable = False
    model.trainable = True  # frozen layers too, but Keras does nothing if the model says so already
    is_state = [not one.trainable and id(one) not in frozen for one in model.weights]
    model.trainable = False
    return is_state


class StatelessNetwork:
    """A Keras model whose variables are told apart.

    Attributes:
      model: the model.
      head: makes action values <float32>[B, A] of its outputs.
      trainable: its trainable variables.
      state: other weights: moving means, counters, those of frozen layers.
      num_seeds: generators of random numbers in it, such as that of a dropout layer.
    """

    def __init__(self, model: keras.Model, head: Callable[[Any], tf.Tensor], is_state: Sequence[bool]):
        """Prepares.

        Args:
          is_state: which of its weights may change without being trained.
        """
        self.model = model
        self.head = head
        weights = {id(variable): changes for variable, changes in zip(model.weights, is_state, strict=True)}
        self.trainable = list(model.trainable_variables)
        self._is_state = [id(variable) in weights for variable in model.non_trainable_variables]
        self.state = [one for one, is_state in self._split(model.non_trainable_variables) if is_state]
        self._changes = [weights[id(variable)] for variable in self.state]
        self.num_seeds = len(self._is_state) - len(self.state)
        self._seed_dtypes = [one.dtype for one, is_state in self._split(model.non_trainable_variables) if not is_state]

    def told_apart(self, values: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Returns, of values in order of the state, those that are averaged over replicas, and those that count.

        What is frozen is neither.
        """
        pairs = [("float" in str(one.dtype), value) for one, value in zip(self.state, values, strict=True)]
        pairs = [pair for pair, changes in zip(pairs, self._changes, strict=True) if changes]
        return [value for is_float, value in pairs if is_float], [value for is_float, value in pairs if not is_float]

    def _split(self, values):
        return zip(values, self._is_state, strict=True)

    def values_of(self, model: keras.Model) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Returns the weights of a model of the same kind, as tensors: those that are trainable here, and the state."""
        trainable = {id(variable) for variable in self.trainable}
        pairs = list(zip(self.model.weights, model.weights, strict=True))
        return (
            [other.value for own, other in pairs if id(own) in trainable],
            [other.value for own, other in pairs if id(own) not in trainable],
        )

    def seeds(self, run_seeds: Sequence[int], update: tf.Tensor, is_target: bool = False) -> list[tf.Tensor]:
        """Returns the states of the network's generators of random numbers in an update.

        Args:
          run_seeds: one for each of them, a function of the run's seed.
          update: the number of the update, from 0.
        """
        count = tf.cast(update, tf.int64) * _CALLS + (_OF_TARGET if is_target else 0)
        return [
            tf.cast(tf.stack([tf.constant(seed, tf.int64), count]), dtype)
            for seed, dtype in zip(run_seeds, self._seed_dtypes, strict=True)
        ]

    def __call__(
        self, weights: Tensors, state: Tensors, seeds: Tensors, observation: tf.Tensor, training: bool
    ) -> tuple[Any, list[tf.Tensor], list[tf.Tensor], Tensors]:
        """Returns outputs, the new state, the new seeds, and regularization losses."""
        state, seeds = list(state), list(seeds)
        given = [(state if is_state else seeds).pop(0) for is_state in self._is_state]
        outputs, updated, losses = self.model.stateless_call(
            weights, given, observation, training=training, return_losses=True
        )
        new_state = [one for one, is_state in self._split(updated) if is_state]
        new_seeds = [one for one, is_state in self._split(updated) if not is_state]
        return outputs, new_state, new_seeds, losses


class OnlineNetwork:
    """The online network in one update: what a loss calls.

    Attributes:
      head: makes action values <float32>[b, A] of outputs.
      state: of the network after the calls so far.
      outputs: of its last call in training, of which the metric q_mean is.
      losses: its regularization losses, of the last call.
    """

    def __init__(self, network: StatelessNetwork, weights: Tensors, state: Tensors, seeds: Tensors):
        self._network, self.head = network, network.head
        self._weights = weights
        self._seeds = seeds
        self.state = state
        self.outputs: Any = None
        self.losses: Tensors = ()

    def __call__(self, observation: tf.Tensor, training: bool = True) -> Any:
        """Returns the network's outputs for observations [b, ...].

        Args:
          training: as Keras has it: dropout drops, moving means move. If not, the network is as it acts.
        """
        outputs, state, seeds, losses = self._called(observation, training)
        if training:
            self.state, self._seeds, self.losses, self.outputs = state, seeds, losses, outputs
        return outputs

    def values(self, observation: tf.Tensor, training: bool = True) -> tf.Tensor:
        """Returns action values <float32>[b, A], whatever the network's head gives."""
        return self.head(self(observation, training))

    def _called(self, observation, training):
        return self._network(self._weights, self.state, self._seeds, observation, training)

    def gradients(self, tape: tf.GradientTape, loss: tf.Tensor) -> Gradients:
        """Returns the gradients of `loss` in order of the weights, and factors of one that is not among them."""
        return tape.gradient(loss, self._weights, unconnected_gradients=tf.UnconnectedGradients.ZERO), ()


class TargetNetwork:
    """The target network in one update: what a loss calls. Nothing that it does is kept.

    Attributes:
      head: makes action values <float32>[b, A] of outputs.
    """

    def __init__(self, network: StatelessNetwork, weights: Tensors, state: Tensors, seeds: Tensors):
        self._network, self.head = network, network.head
        self._given = (weights, state, seeds)

    def __call__(self, observation: tf.Tensor, training: bool = False) -> Any:
        """Returns the network's outputs for observations [b, ...]. See OnlineNetwork."""
        return self._network(*self._given, observation, training)[0]

    def values(self, observation: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns action values <float32>[b, A]."""
        return self.head(self(observation, training))
