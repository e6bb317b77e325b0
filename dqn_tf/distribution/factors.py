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

    def values(self, weights: Sequence[tf.Tensor], observation: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the network's values <float32>[b, A], and x [b, M] and x kernel + bias [b, N] of the layer."""
        i, dtype = self.position, self._layer.compute_dtype
        x, _ = self._before.stateless_call(weights[:i], [], observation)
        z = tf.nn.bias_add(tf.matmul(x, tf.cast(weights[i], dtype)), tf.cast(weights[i + 1], dtype))
        values, _ = self._after.stateless_call(weights[i + 2 :], [], self._layer.activation(z))
        return values, x, z


def of(network: keras.Model, batch_size: int) -> Factored | None:
    """Returns the cut network where sharing factors is worth it at this global batch size, else None.

    Args:
      network: a chain of layers.
    """
    dense = [layer for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    if len(dense) < 2:
        return None
    layer = max(dense[:-1], key=lambda candidate: np.prod(candidate.kernel.shape))
    rows, columns = layer.kernel.shape
    num_weights = sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)
    num_shared = num_weights - rows * columns + batch_size * (rows + columns)
    if num_shared * _MIN_GAIN > num_weights:
        return None
    position = next(i for i, variable in enumerate(network.trainable_variables) if variable is layer.kernel)
    before = keras.Model(network.inputs, layer.input)
    return Factored(position, (rows, columns), before, layer, keras.Model(layer.output, network.outputs[0]))
