"""Random numbers of a whole batch, of which a replica takes its rows.

Masks of dropout are then the same however many replicas share a batch. Keras draws numbers for the rows that it sees;
here the functions with which it does so draw those of all replicas, and give this one its own.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
from keras.src import backend  # layers call what is in this module; keras.random has no hook of its own

_OF_A_SHAPE = ("normal", "uniform", "truncated_normal", "randint")


@contextlib.contextmanager
def of_all_replicas(num_replicas: int, replica: tf.Tensor, batch: Any) -> Iterator[Any]:
    """Returns a context, for tracing, in which Keras draws rows for all replicas and takes those of `replica`.

    Args:
      batch: nest of tensors [b, ...].
    Returns:
      The batch, of which the graph does not know b: so numbers for its rows are told from those for weights, which all
      rows share.
    """
    before = {name: getattr(backend.random, name) for name in (*_OF_A_SHAPE, "dropout")}

    def rows(draw: Callable[..., tf.Tensor], shape: Any, *args, **kwargs) -> tf.Tensor:
        shape = tf.unstack(shape) if tf.is_tensor(shape) else list(shape)
        if not shape or not tf.is_tensor(shape[0]):
            return draw(shape, *args, **kwargs)
        whole = draw(tf.stack([shape[0] * num_replicas, *shape[1:]]), *args, **kwargs)
        return whole[replica * shape[0] : (replica + 1) * shape[0]]

    def dropout(inputs, rate, noise_shape=None, seed=None):
        if not 0.0 < rate < 1.0:
            return before["dropout"](inputs, rate, noise_shape, seed)
        size = tf.shape(inputs)[0]
        others = [replica * size, (num_replicas - 1 - replica) * size]
        whole = tf.pad(inputs, [others, *[[0, 0]] * (len(inputs.shape) - 1)])
        if noise_shape is not None and (tf.is_tensor(noise_shape[0]) or noise_shape[0] not in (None, 1)):
            noise_shape = (None, *noise_shape[1:])
        return before["dropout"](whole, rate, noise_shape, seed)[replica * size : (replica + 1) * size]

    try:
        for name in _OF_A_SHAPE:
            setattr(backend.random, name, lambda shape, *args, draw=before[name], **kw: rows(draw, shape, *args, **kw))
        backend.random.dropout = dropout
        yield tf.nest.map_structure(_without_size, batch)
    finally:
        for name, function in before.items():
            setattr(backend.random, name, function)


def _without_size(tensor):
    return tf.raw_ops.PlaceholderWithDefault(input=tensor, shape=[None, *tensor.shape[1:]])
