"""The gradient of a large dense layer as two thin matrices, which is what workers then send each other.

The gradient of a kernel [M, N] is x^T g, with x [B, M] what the layer was given and g [B, N] the gradient of what it
made. With a global batch of 64 the two are 0.9 MB for the Nature network's hidden layer, their product is 6.4 MB. So
workers share the factors, and each multiplies those of the whole batch: the same sum in another order.
Source: Xie et al. 2016, "Lighter-communication distributed machine learning via sufficient factor broadcasting"
(UAI 2016); the choice by size is that of Zhang et al. 2017, "Poseidon" (arXiv:1706.03292).
"""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from dqn_tf.distribution.stateless import Gradients, OnlineNetwork, StatelessNetwork, Tensors

_MIN_GAIN = 1.5


@dataclasses.dataclass(frozen=True)
class Factored:
    """A network cut in three at its largest dense layer.

    Attributes:
      position: of the layer's kernel among the network's weights; its bias follows.
      shape: M, N of the kernel.
    """

    position: int
    shape: tuple[int, int]
    _before: keras.Model
    _layer: keras.layers.Dense
    _after: keras.Model

    def outputs(self, weights: Sequence[tf.Tensor], observation: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the network's outputs, and x [b, M] and x kernel + bias [b, N] of the layer."""
        i, dtype = self.position, self._layer.compute_dtype
        x, _ = self._before.stateless_call(weights[:i], [], observation)
        z = tf.nn.bias_add(tf.matmul(x, tf.cast(weights[i], dtype)), tf.cast(weights[i + 1], dtype))
        outputs, _ = self._after.stateless_call(weights[i + 2 :], [], self._layer.activation(z))
        return outputs, x, z


class FactoredOnlineNetwork(OnlineNetwork):
    """The online network, whose largest dense layer has factors in place of a gradient."""

    def __init__(
        self, network: StatelessNetwork, weights: Tensors, state: Tensors, seeds: Tensors, factored: Factored
    ):
        super().__init__(network, weights, state, seeds)
        self._factored = factored
        self._x, self._z = [], []  # of each call

    def _called(self, observation, training):  # which is the same, as there is no state and nothing random
        outputs, x, z = self._factored.outputs(self._weights, observation)
        self._x.append(x)
        self._z.append(z)
        return outputs, self.state, self._seeds, ()

    def gradients(self, tape: tf.GradientTape, loss: tf.Tensor) -> Gradients:
        sources = list(self._weights)
        del sources[self._factored.position]
        gradients = tape.gradient(loss, [*sources, *self._z])
        pairs = [(x, g) for x, g in zip(self._x, gradients[len(sources) :], strict=True) if g is not None]
        gradients = [tf.zeros_like(one) if g is None else g for one, g in zip(sources, gradients, strict=False)]
        return gradients, tuple(map(_joined, zip(*pairs, strict=True)))


def of(network: StatelessNetwork, batch_size: int) -> Factored | None:
    """Returns the cut network if sharing factors is worth it at this global batch size, else None.

    None too for a network that cannot be cut: one that is no chain of Keras's layers, has state or random numbers, or
    adds losses of its own.
    """
    model = network.model
    if not _is_chain(model) or model.non_trainable_variables or model.losses:
        return None
    if any(layer.activity_regularizer or not _is_known(layer) for layer in model.layers):
        return None
    dense = [layer for layer in model.layers if type(layer) is keras.layers.Dense and layer.use_bias]
    if len(dense) < 2:
        return None
    layer = max(dense[:-1], key=lambda candidate: np.prod(candidate.kernel.shape))
    rows, columns = layer.kernel.shape
    num_weights = sum(int(np.prod(variable.shape)) for variable in network.trainable)
    num_shared = num_weights - rows * columns + batch_size * (rows + columns)
    if num_shared * _MIN_GAIN > num_weights or len(layer.input.shape) != 2:
        return None
    position = next(i for i, variable in enumerate(network.trainable) if variable is layer.kernel)
    before = keras.Model(model.inputs, layer.input)
    return Factored(position, (rows, columns), before, layer, keras.Model(layer.output, model.outputs[0]))


def _joined(rows):
    return rows[0] if len(rows) == 1 else tf.concat(rows, axis=0)


def _is_known(layer):
    """Returns whether it is a layer of Keras's, or a convolution, which has kernel and bias as Keras's."""
    return type(layer).__module__.startswith("keras.") or isinstance(layer, keras.layers.Conv2D)


def _is_chain(model):
    """Returns whether each layer takes what the one before gives, and nothing else."""
    try:
        links = zip(model.layers, model.layers[1:], strict=False)
        is_linked = all(before.output is after.input for before, after in links)
        return is_linked and len(model.inputs) == len(model.outputs) == 1
    except (AttributeError, ValueError):  # a model of a class of its own, a layer that is called twice
        return False
