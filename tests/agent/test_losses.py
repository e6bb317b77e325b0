"""Temporal-difference errors by hand. 99 stands in every entry that must not be read."""

import numpy as np
import pytest
import tensorflow as tf

from dqn_tf.agent import losses


def float_tensors(*values):
    return [tf.constant(value, tf.float32) for value in values]


def batch_of_two():
    """Returns td_error's arguments of two transitions: action 1 then 0 was taken, 2 then 1 is selected."""
    q_tm1, r_t, discount_t, q_t, q_t_selector = float_tensors(
        [[99, 3, 99], [-2, 99, 99]],
        [1, -4],
        [0.5, 0.25],
        [[99, 99, 10], [99, 8, 99]],
        [[0, 1, 2], [-3, -1, -2]],
    )
    return q_tm1, tf.constant([1, 0]), r_t, discount_t, q_t, q_t_selector


EXPECTED_OF_TWO = [1 + 0.5 * 10 - 3, -4 + 0.25 * 8 - (-2)]


def test_td_error_when_actions_differ_selects_with_one_and_evaluates_with_the_other():
    np.testing.assert_array_equal(losses.td_error(*batch_of_two()), EXPECTED_OF_TWO)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_td_error_when_in_a_graph_gives_the_same_values(jit_compile):
    function = tf.function(losses.td_error, jit_compile=jit_compile)
    np.testing.assert_array_equal(function(*batch_of_two()), EXPECTED_OF_TWO)


def test_td_error_when_the_selector_is_q_t_is_plain_q_learning():
    q_tm1, r_t, discount_t, q_t = float_tensors([[99, 3]], [1], [0.5], [[-6, 4]])
    error = losses.td_error(q_tm1, tf.constant([1]), r_t, discount_t, q_t, q_t)
    np.testing.assert_array_equal(error, [1 + 0.5 * 4 - 3])  # 4 = max(-6, 4)


def test_td_error_when_the_selector_ties_takes_the_first_action():
    q_tm1, r_t, discount_t, q_t, selector = float_tensors([[3, 99, 99]], [1], [0.5], [[99, 10, 99]], [[0, 7, 7]])
    error = losses.td_error(q_tm1, tf.constant([0]), r_t, discount_t, q_t, selector)
    np.testing.assert_array_equal(error, [1 + 0.5 * 10 - 3])


def test_td_error_when_terminated_reads_no_next_value():
    q_tm1, r_t, discount_t, q_t, selector = float_tensors([[3, 99]], [1], [0], [[99, 99]], [[99, 99]])
    error = losses.td_error(q_tm1, tf.constant([0]), r_t, discount_t, q_t, selector)
    np.testing.assert_array_equal(error, [1 - 3])


def test_td_error_when_entries_not_read_are_not_finite_stays_finite():
    nan, inf = float("nan"), float("inf")
    q_tm1, r_t, discount_t, q_t, selector = float_tensors([[nan, 3]], [1], [0.5], [[inf, 10]], [[0, 1]])
    error = losses.td_error(q_tm1, tf.constant([1]), r_t, discount_t, q_t, selector)
    np.testing.assert_array_equal(error, [1 + 0.5 * 10 - 3])


def test_td_error_has_no_other_gradients_than_of_the_action_taken():
    arguments = batch_of_two()
    floats = [tensor for tensor in arguments if tensor.dtype == tf.float32]
    with tf.GradientTape() as tape:
        tape.watch(floats)
        error = losses.td_error(*arguments)
    of_q_tm1, *others = tape.gradient(error, floats)
    np.testing.assert_array_equal(of_q_tm1, [[0, -1, 0], [-1, 0, 0]])
    assert others == [None] * 4  # r_t, discount_t, q_t, q_t_selector


def test_td_error_when_the_selector_is_the_online_network_leaves_it_without_a_gradient():
    online, r_t, discount_t, q_t = float_tensors([[1, 2]], [1], [0.5], [[4, 8]])
    with tf.GradientTape() as tape:
        tape.watch(online)
        error = losses.td_error(online, tf.constant([0]), r_t, discount_t, q_t, online)
    np.testing.assert_array_equal(tape.gradient(error, online), [[-1, 0]])


def test_huber_is_quadratic_up_to_one_and_linear_beyond():
    error = tf.constant([0, 0.5, -0.5, 1, -1, 3, -3], tf.float32)
    expected = [0, 0.5 * 0.25, 0.5 * 0.25, 0.5, 0.5, 3 - 0.5, 3 - 0.5]
    np.testing.assert_array_equal(losses.huber(error), expected)
    np.testing.assert_array_equal(tf.function(losses.huber, jit_compile=True)(error), expected)


def test_huber_has_the_error_clipped_to_one_as_gradient():
    error = tf.constant([0, 0.5, -0.5, 1, -1, 3, -3], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(error)
        loss = losses.huber(error)
    np.testing.assert_array_equal(tape.gradient(loss, error), [0, 0.5, -0.5, 1, -1, 1, -1])


def test_squared_is_half_the_square_everywhere():
    error = tf.constant([0, 0.5, -3], tf.float32)
    expected = [0, 0.5 * 0.25, 0.5 * 9]
    np.testing.assert_array_equal(losses.squared(error), expected)
    np.testing.assert_array_equal(tf.function(losses.squared, jit_compile=True)(error), expected)


def test_losses_has_every_loss_of_the_command_line():
    assert {"huber": losses.huber, "squared": losses.squared} == losses.LOSSES
