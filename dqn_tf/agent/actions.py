"""Which actions a target counts: the one of the largest value, among those that are legal."""

import tensorflow as tf


def one_hot(action: tf.Tensor, num_actions: int) -> tf.Tensor:
    """Returns <bool>[B, A] of actions <int>[B].

    Sums of what it selects take the place of gathers: their gradient needs no scatter, which XLA runs serially on CPU.
    """
    return tf.one_hot(action, num_actions, on_value=True, off_value=False)


def masked(values: tf.Tensor, legal: tf.Tensor | None) -> tf.Tensor:
    """Returns values <float32>[B, A], the lowest float where an action is not legal; legal <bool>[B, A], None: all."""
    return values if legal is None else tf.where(legal, values, values.dtype.min)


def largest(values: tf.Tensor, legal: tf.Tensor | None = None) -> tf.Tensor:
    """Returns <bool>[B, A]: the legal action of the largest value <float32>[B, A]."""
    return one_hot(tf.argmax(masked(values, legal), axis=-1), values.shape[-1])


def value_of(values: tf.Tensor, is_action: tf.Tensor) -> tf.Tensor:
    """Returns the values [B] of one action, of values [B, A] and <bool>[B, A]."""
    return tf.reduce_sum(tf.where(is_action, values, 0.0), axis=-1)


def of_action(outputs: tf.Tensor, is_action: tf.Tensor) -> tf.Tensor:
    """Returns outputs [B, N] of one action, of outputs [B, A, N] and <bool>[B, A]."""
    return tf.reduce_sum(tf.where(is_action[..., tf.newaxis], outputs, 0.0), axis=1)


def legal_of(bits: tf.Tensor | None, num_actions: int) -> tf.Tensor | None:
    """Returns <bool>[B, A] of bits <uint8>[B, ceil(A / 8)], the lowest first; None of None: all actions are legal."""
    if bits is None:
        return None
    parts = tf.bitwise.right_shift(tf.cast(bits, tf.int32)[..., tf.newaxis], tf.range(8)) % 2
    return tf.reshape(parts, [-1, 8 * bits.shape[-1]])[:, :num_actions] > 0
