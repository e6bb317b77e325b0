"""Temporal-difference errors and losses: pure functions, tensors in, tensors out."""

import tensorflow as tf


def td_error(q_tm1, a_tm1, r_t, discount_t, q_t, q_t_selector):
    """Returns the double Q-learning temporal-difference error.

    target = r_t + discount_t * q_t[argmax_a q_t_selector];  error = target - q_tm1[a_tm1].
    No gradient flows into the target. With q_t_selector = q_t this is plain Q-learning.

    Args:
      q_tm1: <float32>[B, A] online values in the source state.
      a_tm1: <int32>[B] actions taken, in [0, A).
      r_t: <float32>[B] n-step reward.
      discount_t: <float32>[B] gamma^k for the k <= n rewards summed, 0 where the episode terminated.
      q_t: <float32>[B, A] target network's values in the state reached.
      q_t_selector: <float32>[B, A] values whose largest selects the action in the state reached.
    Returns:
      <float32>[B] errors, in reward units.
    Source: van Hasselt et al. 2016, eq. 4 (arXiv:1509.06461).
    """
    num_actions = q_tm1.shape[-1]
    # One-hot products instead of gathers: their gradient needs no scatter, which XLA runs serially on CPU.
    selected = tf.one_hot(tf.argmax(q_t_selector, axis=-1), num_actions, on_value=True, off_value=False)  # [B, A]
    taken = tf.one_hot(a_tm1, num_actions, on_value=True, off_value=False)  # [B, A]
    value = tf.reduce_sum(tf.where(selected, q_t, 0.0), axis=-1)  # [B]
    target = tf.stop_gradient(r_t + discount_t * value)
    return target - tf.reduce_sum(tf.where(taken, q_tm1, 0.0), axis=-1)


def huber(error):
    """Returns 0.5 e^2 where |e| <= 1 and |e| - 0.5 elsewhere, <float32>[B]. Source: doi:10.1038/nature14236."""
    size = tf.abs(error)
    quadratic = tf.minimum(size, 1.0)
    return 0.5 * tf.square(quadratic) + (size - quadratic)


def squared(error):
    """Returns 0.5 e^2, <float32>[B]."""
    return 0.5 * tf.square(error)


LOSSES = {"huber": huber, "squared": squared}
