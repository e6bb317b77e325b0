"""Many tensors as one vector: one collective, or one call from Python, in place of one for each."""

import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf


class Packed(Sequence[np.ndarray]):
    """Arrays that are one vector on the device that made it. They come to the host when one of them is asked for.

    Attributes:
      vector: <float32>[sum of sizes].
    """

    def __init__(self, vector: tf.Tensor, shapes: Sequence[Sequence[int]]):
        """Takes what `pack` gave of tensors of these shapes."""
        self.vector, self._shapes = vector, shapes

    def __len__(self) -> int:
        return len(self._shapes)

    def __getitem__(self, i):
        return self._arrays[i]

    @functools.cached_property
    def _arrays(self):
        ends = np.cumsum([size(shape) for shape in self._shapes])
        arrays = np.split(self.vector.numpy(), ends[:-1])
        return [array.reshape(shape) for array, shape in zip(arrays, self._shapes, strict=True)]


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
