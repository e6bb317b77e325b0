"""Many tensors as one vector: one collective, or one call from Python, in place of one for each."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def size(shape: Sequence[int]) -> int:
    """Returns how many numbers a tensor of this shape has."""
    return int(np.prod(shape))


def pack(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the tensors, of one dtype, as one vector."""
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)


def unpack(vector: tf.Tensor, shapes: Sequence[Sequence[int]]) -> list[tf.Tensor]:
    """Returns the tensors of these shapes that were packed."""
    flat = tf.split(vector, [size(shape) for shape in shapes])
    return [tf.reshape(part, shape) for part, shape in zip(flat, shapes, strict=True)]
