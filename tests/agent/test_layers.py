"""Layers and losses of the additions, against plain NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dqn_tf.agent import heads, layers, losses, munchausen, statistics
from dqn_tf.experience import accumulator
from tests.agent.test_rlax import Fixed
from tests.placements import one_replica

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_dueling_adds_advantages_without_their_mean_to_the_value():
    value, advantage = normal(3, 7), normal(3, 5 * 7, seed=1)
    streams = advantage.reshape(3, 5, 7)
    expected = value[:, None] + streams - streams.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(heads.Dueling()([value, advantage]), expected, **TOLERANCE)


def test_noisy_layer_in_training_has_factorized_noise_of_its_seed_and_none_as_it_acts():
    x, layer = normal(4, 6), layers.NoisyDense(3, sigma=0.5, seed=7)
    layer.build((None, 6))
    np.testing.assert_allclose(layer.kernel_sigma, np.full((6, 3), 0.5 / 6**0.5), **TOLERANCE)
    layer.kernel_sigma.assign(normal(6, 3, seed=2))
    layer.bias_sigma.assign(normal(3, seed=3))
    kernel, bias, kernel_sigma, bias_sigma = (one.numpy() for one in layer.weights)
    np.testing.assert_allclose(layer(x, training=False), x @ kernel + bias, **TOLERANCE)
    generator = keras.random.SeedGenerator(7)
    rows, columns = (np.asarray(keras.random.normal((size,), seed=generator)) for size in (6, 3))
    rows, columns = (np.sign(e) * np.sqrt(np.abs(e)) for e in (rows, columns))
    noisy_kernel, noisy_bias = kernel + kernel_sigma * np.outer(rows, columns), bias + bias_sigma * columns
    np.testing.assert_allclose(layer(x, training=True), x @ noisy_kernel + noisy_bias, **TOLERANCE)
    assert np.abs(layer(x, training=True) - layer(x, training=True)).max() > 0.1  # noise of its own for each call


def test_spectral_convolution_after_many_calls_in_training_has_a_largest_singular_value_of_1():
    x, layer = normal(2, 5, 5, 3), layers.SpectralConv2D(4, 3, padding="same", data_format="channels_last")
    layer.build(x.shape)
    layer.kernel.assign(normal(3, 3, 3, 4, seed=1))
    layer.bias.assign(normal(4, seed=2))
    for _ in range(100):
        layer(x, training=True)
    kernel = layer.kernel.numpy()
    largest = np.linalg.svd(kernel.reshape(-1, 4), compute_uv=False)[0]
    expected = tf.nn.conv2d(x, kernel / largest, 1, "SAME") + layer.bias
    np.testing.assert_allclose(layer(x, training=False), expected, rtol=1e-3, atol=1e-3)
    before = layer.direction.numpy()
    layer(x, training=False)
    np.testing.assert_array_equal(layer.direction, before)


def test_fractions_are_random_in_training_and_evenly_spaced_as_the_network_acts():
    layer = layers.Fractions(8, 4)
    np.testing.assert_allclose(layer(normal(2, 3), training=False), np.tile([0.125, 0.375, 0.625, 0.875], (2, 1)))
    drawn = layer(normal(500, 3), training=True).numpy()
    assert drawn.shape == (500, 8) and 0 <= drawn.min() and drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 0.02 and abs(drawn.std() - 12**-0.5) < 0.01


def test_cosines_are_those_of_equation_4():
    found = layers.Cosines(3)(np.float32([[0.25, 1.0]]))
    np.testing.assert_allclose(found, [[[1, 2**-0.5, 0], [1, -1, 1]]], atol=1e-6)


@pytest.mark.parametrize("shift, scale", [(0.0, 1.0), (1e3, 1.0), (-1e3, 1e3)])
def test_normalized_observations_have_mean_0_and_variance_1_whatever_their_shift_and_scale(shift, scale):
    layer = layers.ObservationNormalization()
    network = keras.Sequential([keras.Input((5,)), layer])
    counted = statistics.ObservationStatistics(one_replica(), [network], 5)
    observations = (shift + scale * normal(1000, 5)).astype(np.float32)
    for part in np.split(observations, [1, 10, 10, 300]):  # one row, none
        counted.add(part)
    np.testing.assert_allclose(layer.mean, observations.mean(axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(layer.variance, observations.var(axis=0, dtype=np.float64), rtol=1e-5)
    found = network(observations).numpy()
    assert np.abs(found.mean(axis=0)).max() < 1e-3 and np.abs(found.std(axis=0) - 1).max() < 1e-3
    resumed = statistics.ObservationStatistics(one_replica(), [network], 5)
    resumed.restore(counted.moments)
    resumed.add(observations[:7] + 1)
    counted.add(observations[:7] + 1)
    np.testing.assert_array_equal(resumed.moments, counted.moments)


def by_hand(q_tm1, q_t, a_tm1, r_t, discount_t, alpha=0.9, tau=0.5, clip=-1.0, legal=None):
    """Returns the targets of Munchausen-DQN, one transition after the other, in float64."""
    targets = []
    for b in range(len(a_tm1)):
        def log_policy(q):
            q = np.array(q, np.float64) / tau
            return q - np.log(np.exp(q).sum())

        actions = np.flatnonzero(legal[b]) if legal is not None else np.arange(q_t.shape[1])
        next_log = log_policy(q_t[b, actions])
        value = (np.exp(next_log) * (q_t[b, actions] - tau * next_log)).sum()
        bonus = alpha * np.clip(tau * log_policy(q_tm1[b])[a_tm1[b]], clip, 0)
        targets.append(r_t[b] + bonus + discount_t[b] * value)
    return np.array(targets)


@pytest.mark.parametrize("has_masks", [False, True])
def test_munchausen_target_is_that_of_equation_2(has_masks):
    size, num_actions = 6, 4
    q, target_tm1, target_t = (3 * normal(size, num_actions, seed=seed) for seed in range(3))
    a_tm1, r_t = np.int32([0, 1, 2, 3, 0, 1]), normal(size, seed=4)
    discount_t = np.float32([0.9, 0, 0.9, 0.9, 0.9, 0.9])
    legal = np.random.default_rng(5).random((size, num_actions)) < 0.5
    legal[:, 2] = True
    bits = np.packbits(legal, axis=1, bitorder="little")
    columns = [np.full_like(bits, 255), bits] if has_masks else []
    soft = munchausen.Munchausen(0.9, 0.5, -1.0)
    online, target = Fixed(tf.identity, q), Fixed(tf.identity, target_tm1, target_t)
    transitions = accumulator.of_columns([0, *map(tf.constant, (a_tm1, r_t, discount_t)), 1, *columns])
    found = losses.MunchausenQLearning(losses.squared, soft)(online, target, transitions)
    expected = by_hand(target_tm1, target_t, a_tm1, r_t, discount_t, legal=legal if has_masks else None)
    error = expected - q[np.arange(size), a_tm1]
    np.testing.assert_allclose(found.priority, np.abs(error), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.loss, 0.5 * error**2, rtol=1e-4, atol=1e-4)


def test_maxmin_target_is_the_largest_of_the_least_values():
    q, q_t = normal(4, 3, 2), normal(4, 3, 2, seed=1)  # [B, N, A]
    a_tm1, r_t, discount_t = np.int32([0, 1, 1, 0]), normal(4, seed=2), np.float32([0.9, 0.9, 0, 0.9])
    head = heads.Maxmin().values
    transitions = accumulator.Transitions(0, *map(tf.constant, (a_tm1, r_t, discount_t)), 1)
    loss = losses.MaxminQLearning(losses.squared)
    found = loss(Fixed(head, tf.constant(q)), Fixed(head, None, tf.constant(q_t)), transitions)
    errors = (r_t + discount_t * q_t.min(axis=1).max(axis=1))[:, None] - q[np.arange(4), :, a_tm1]
    np.testing.assert_allclose(found.loss, 0.5 * np.square(errors).sum(axis=1), **TOLERANCE)
    np.testing.assert_allclose(found.priority, np.abs(errors).mean(axis=1), **TOLERANCE)


def test_q_learning_target_counts_legal_actions_alone():
    q_t, legal = np.float32([[5, 1, 3], [5, 1, 3]]), np.array([[False, True, True], [True, True, True]])
    bits = np.packbits(legal, axis=1, bitorder="little")
    zeros = tf.zeros([2])
    transitions = accumulator.of_columns([0, tf.constant([0, 0]), zeros, zeros + 1, 1, bits, bits])
    online, target = Fixed(tf.identity, tf.zeros([2, 3]), q_t), Fixed(tf.identity, None, q_t)
    for double_q in (False, True):
        found = losses.QLearning(losses.squared, double_q)(online, target, transitions)
        np.testing.assert_array_equal(found.priority, [3, 5])
