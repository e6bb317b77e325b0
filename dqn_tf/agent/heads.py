"""What the outputs of a Q-network mean: a head says how action values are made of them.

The last layer of a network is its head. Plain DQN's has none: its outputs are action values.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import ops

_PACKAGE = "dqn_tf"


def values_of(network: keras.Model) -> Callable[[Any], tf.Tensor]:
    """Returns the function that makes action values <float32>[B, A] of what `network` returns.

    It is the method `values` of the network or of its last layer, the head. Without one, outputs are action values.
    """
    for head in (network, network.layers[-1] if network.layers else None):
        if callable(getattr(head, "values", None)):
            return head.values
    return lambda outputs: outputs


@keras.saving.register_keras_serializable(_PACKAGE)
class Dueling(keras.layers.Layer):
    """Value [..., Z] and advantages [..., A * Z] to action values [..., A, Z]: their sum, advantages less their mean.

    Source: Wang et al. 2016, eq. 9 (arXiv:1511.06581).
    """

    def call(self, inputs: Any) -> Any:
        value, advantage = inputs
        num_actions = advantage.shape[-1] // value.shape[-1]
        advantage = ops.reshape(advantage, (*ops.shape(advantage)[:-1], num_actions, value.shape[-1]))
        return value[..., None, :] + advantage - ops.mean(advantage, axis=-2, keepdims=True)


@keras.saving.register_keras_serializable(_PACKAGE)
class Expected(keras.layers.Layer):
    """[B, A, 1] to action values [B, A]."""

    def call(self, inputs: Any) -> Any:
        return ops.squeeze(inputs, -1)


@keras.saving.register_keras_serializable(_PACKAGE)
class Categorical(keras.layers.Layer):
    """Logits [B, A, Z] of a distribution over Z values from v_min to v_max. Source: arXiv:1707.06887."""

    def __init__(self, v_min: float, v_max: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.v_min, self.v_max = v_min, v_max

    def call(self, inputs: Any) -> Any:
        return inputs

    def values(self, outputs: tf.Tensor) -> tf.Tensor:
        """Returns the means of the distributions, <float32>[B, A]."""
        return tf.linalg.matvec(tf.nn.softmax(outputs), tf.linspace(self.v_min, self.v_max, outputs.shape[-1]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "v_min": self.v_min, "v_max": self.v_max}


@keras.saving.register_keras_serializable(_PACKAGE)
class Quantiles(keras.layers.Layer):
    """Quantiles [B, A, N] at the middles of N equal parts. Source: Dabney et al. 2018 (arXiv:1710.10044)."""

    def call(self, inputs: Any) -> Any:
        return inputs

    def values(self, outputs: tf.Tensor) -> tf.Tensor:
        """Returns the means of the quantiles, <float32>[B, A]."""
        return tf.reduce_mean(outputs, axis=-1)


@keras.saving.register_keras_serializable(_PACKAGE)
class ImplicitQuantiles(keras.layers.Layer):
    """Quantiles [B, T, A, 1] at fractions [B, T], as `quantiles` [B, A, T] and `fractions`. See arXiv:1806.06923."""

    def call(self, inputs: Any) -> dict[str, Any]:
        quantiles, fractions = inputs
        return {"quantiles": ops.transpose(ops.squeeze(quantiles, -1), (0, 2, 1)), "fractions": fractions}

    def values(self, outputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns the means of the quantiles, <float32>[B, A]."""
        return tf.reduce_mean(outputs["quantiles"], axis=-1)


@keras.saving.register_keras_serializable(_PACKAGE)
class Maxmin(keras.layers.Layer):
    """Action values of N networks, each [B, A], as [B, N, A]. Source: Lan et al. 2020 (arXiv:2002.06487)."""

    def call(self, inputs: Any) -> Any:
        return ops.stack(inputs, axis=1)

    def values(self, outputs: tf.Tensor) -> tf.Tensor:
        """Returns the least value of each action, <float32>[B, A]."""
        return tf.reduce_min(outputs, axis=1)
