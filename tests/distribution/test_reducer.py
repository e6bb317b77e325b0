"""Gradients of a batch in parts: what goes over the wire, and that their sum is the whole batch's."""

import numpy as np
import pytest
import tensorflow as tf

from dqn_tf.agent import learner, losses
from dqn_tf.config import schema
from dqn_tf.distribution import factors, reducer, stateless, strategy
from dqn_tf.experience import accumulator, replay
from tests import making, marks
from tests.placements import one_replica, two_replicas

LEARNING = schema.Learning(optimizer="sgd", learning_rate=0.0, learning_rate_schedule="constant", clip_norm=0.0)
LOSS = losses.create(losses.huber, double_q=True)


class TwoWorkers(strategy.Placement):
    """Two replicas of this process that pass for workers."""

    def split(self, batch):
        return strategy.Placement(self.strategy, 1, 0, 2).split(batch)


def two_workers():
    return TwoWorkers(two_replicas().strategy, 2, 0, 1)


def mlp(hidden_units=(128, 128), precision="float32", seed=1):
    return making.network("mlp", (4,), np.float32, 3, hidden_units=hidden_units, precision=precision, seed=seed)


def nature(size=84, precision="float32", seed=1):
    shape = (4, size, size)
    return making.network("nature_cnn", shape, np.uint8, 3, largest=255, precision=precision, seed=seed)


def stateless_of(network):
    return stateless.StatelessNetwork(network, lambda outputs: outputs, [False] * len(network.weights))


# Where it is worth while.


@pytest.mark.parametrize(
    "build, batch_size, position, shape",
    [
        # 512 + 128 + 128 + 387 others and 16 * 256 of the factors are less than two thirds of 17,539.
        (lambda: mlp((128, 128)), 16, 2, (128, 128)),
        (lambda: mlp((128, 128)), 41, 2, (128, 128)),  # 1155 + 41 * 256 = 11,651
        (lambda: mlp((128, 128)), 42, None, None),  # 1155 + 42 * 256 = 11,907, and two thirds are 11,693
        (lambda: mlp((256, 32, 32)), 4, 2, (256, 32)),  # 2467 + 4 * 288 of 10,659
        (lambda: mlp((64,)), 2, None, None),  # 515 - 4 * 64 + 2 * 68 = 395
        (lambda: mlp(()), 1, None, None),  # no layer but the last
        (nature, 256, 6, (7 * 7 * 64, 512)),
        (nature, 320, None, None),
    ],
)
def test_factors_are_of_the_largest_layer_where_they_are_less_than_two_thirds(build, batch_size, position, shape):
    cut = factors.of(stateless_of(build()), batch_size)
    assert (cut and (cut.position, cut.shape)) == (position and (position, shape))


def test_num_sent_counts_all_weights_or_the_factors_and_two_parts_of_each_replicas_metrics():
    def sent(placement, batch_size=64):
        made = reducer.GradientSum(placement)
        made.prepare(stateless_of(nature()), batch_size, 3, [])
        return made.num_sent

    hidden, others = 3136 * 512, (8 * 8 * 4 * 32 + 32) + (4 * 4 * 32 * 64 + 64) + (3 * 3 * 64 * 64 + 64) + 512 + 3 * 513
    assert sent(one_replica()) == 0
    assert sent(two_replicas()) == others + hidden + 2 * 6  # within a process all go
    assert sent(two_workers()) == others + 64 * (3136 + 512) + 2 * 6
    assert sent(two_workers(), batch_size=512) == others + hidden + 2 * 6


# What they are.


def observations(network, count):
    shape, dtype = network.input_shape[1:], network.inputs[0].dtype
    generator = np.random.default_rng(0)
    if dtype == "uint8":
        return generator.integers(256, size=(count, *shape), dtype=np.uint8)
    return generator.normal(size=(count, *shape)).astype(np.float32)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("build", [mlp, nature])
def test_cut_network_has_the_values_of_the_whole(build, precision):
    network = build(precision=precision)
    seen = tf.constant(observations(network, 5))
    weights = [variable.value for variable in network.trainable_variables]
    cut = factors.of(stateless_of(network), 16)
    values, x, z = cut.outputs(weights, seen)
    assert values.dtype == tf.float32
    assert (tuple(x.shape), tuple(z.shape)) == ((5, cut.shape[0]), (5, cut.shape[1]))
    # The same operations in the same order; TensorFlow may run them on other numbers of threads.
    np.testing.assert_allclose(values, network(seen), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("build", [mlp, nature])
def test_product_of_the_factors_is_the_gradient_of_the_kernel(build):
    network = build()
    seen = tf.constant(observations(network, 5))
    weights = [tf.constant(variable.value) for variable in network.trainable_variables]
    cut = factors.of(stateless_of(network), 16)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(weights)
        values, x, z = cut.outputs(weights, seen)
        loss = tf.reduce_sum(tf.square(values))
    g, kernel = tape.gradient(loss, [z, weights[cut.position]])
    product = tf.matmul(x, g, transpose_a=True)
    np.testing.assert_allclose(product, kernel, rtol=0, atol=1e-6 * np.abs(kernel).max())
    assert np.abs(kernel).max() > 0


def batch_of(network, size):
    generator = np.random.default_rng(2)
    seen = observations(network, 2 * size)
    return accumulator.Transitions(
        seen[:size],
        generator.integers(3, size=size, dtype=np.int32),
        generator.normal(size=size).astype(np.float32),
        generator.choice(np.float32([0, 0.9]), size=size),
        seen[size:],
    )


class KeepsGradients(reducer.GradientSum):
    """Keeps the gradients of the last update."""

    def prepare(self, network, *others):
        super().prepare(network, *others)
        with self.placement.scope():
            self.kept = [tf.Variable(tf.zeros(variable.shape)) for variable in network.trainable]

    def sum(self, sent):
        gradients, sums = super().sum(sent)
        for variable, gradient in zip(self.kept, gradients, strict=True):
            variable.assign(gradient)
        return gradients, sums


def gradients_of(placement, build, wire_precision="float32", size=16, broken=False, **others):
    """Returns the gradients and metrics of one batch, as arrays; `broken`: with a reward that is not finite."""
    shared = KeepsGradients(placement, wire_precision)
    made = learner.Learner(shared, lambda: build(**others), LOSS, LEARNING, size, 10, False)
    made.target.set_weights(build(seed=2, **others).get_weights())
    batch = batch_of(made.network, size)
    batch.r_t[0] = np.inf if broken else batch.r_t[0]
    metrics, _ = made.update(replay.Sample(accumulator.Transitions(*(column[np.newaxis] for column in batch))))
    return [variable.numpy() for variable in shared.kept], metrics[:3]


def assert_near(actual, expected, tolerance):
    """Compares gradients: each array to so much of its largest entry."""
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype == np.float32
        assert np.abs(b).max() > 0
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


# Sums in another order differ by some times 6e-8 of their largest terms, which may cancel.
ROUNDING = 1e-5


@pytest.mark.parametrize("build", [mlp, *marks.thorough(nature)])
@pytest.mark.parametrize("place", [two_replicas, two_workers])
def test_sum_of_the_parts_is_the_gradient_of_the_batch(place, build):
    whole, means = gradients_of(one_replica(), build)
    parts, means_of_parts = gradients_of(place(), build)
    assert_near(parts, whole, ROUNDING)
    np.testing.assert_allclose(means_of_parts, means, rtol=1e-5)


@pytest.mark.parametrize("place", [two_replicas, two_workers])
def test_sum_of_the_parts_in_bfloat16_on_the_wire_is_rounded_to_8_bits(place):
    whole, means = gradients_of(one_replica(), mlp)
    parts, means_of_parts = gradients_of(place(), mlp, "bfloat16")
    # Two parts rounded by 2^-9 each and their sum once more; factors are products of two such numbers.
    assert_near(parts, whole, 3 * 2**-8)
    assert all(np.abs(a - b).max() > 1e-4 * np.abs(b).max() for a, b in zip(parts, whole, strict=True))
    np.testing.assert_allclose(means_of_parts, means, rtol=2**-16)  # two parts, 8 bits each


@pytest.mark.parametrize("build", [mlp, *marks.thorough(nature)])
def test_gradients_of_a_network_in_bfloat16_stay_near_those_in_float32(build):
    exact, means = gradients_of(one_replica(), build)
    rough, rough_means = gradients_of(one_replica(), build, precision="bfloat16")
    # 8 bits: 2^-9 of a number in each of ten roundings forth and back, and units near 0 that are cut or not.
    for a, b in zip(rough, exact, strict=True):
        assert a.dtype == np.float32
        assert 0 < np.linalg.norm(a - b) < 0.25 * np.linalg.norm(b)
    np.testing.assert_allclose(rough_means, means, rtol=0.01, atol=0.001)


@pytest.mark.parametrize("wire_precision", ["float32", "bfloat16"])
def test_sum_of_the_parts_where_one_is_not_finite_is_not(wire_precision):
    _, means = gradients_of(two_workers(), mlp, wire_precision, broken=True)
    assert not np.isfinite(means[[0, 2]]).any()  # loss and error
