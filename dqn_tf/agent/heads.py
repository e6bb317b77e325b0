"""What the outputs of a Q-network mean: a head says how action values are made of them."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


def values_of(network: keras.Model) -> Callable[[Any], tf.Tensor]:
    """Returns the function that makes action values <float32>[B, A] of what `network` returns.

    It is the method `values` of the network or of its last layer, the head. Without one, outputs are action values.
    """
    for head in (network, network.layers[-1] if network.layers else None):
        if callable(getattr(head, "values", None)):
            return head.values
    return lambda outputs: outputs
