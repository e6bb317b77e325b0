"""Optimizers: each of Keras's by name, and one step of Adam in one pass, which is Keras's step."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from dqn_tf.agent import optimizers
from dqn_tf.config import schema
from tests.placements import one_replica, two_replicas

SHAPES = ((7, 5), (5,), (3, 2, 4))
NUM_STEPS = 6
PLACES = pytest.mark.parametrize("place", [one_replica, two_replicas])


def agent(**settings):
    return schema.Learning(**{"learning_rate": 0.1, "learning_rate_schedule": "constant", **settings})


class Twin:
    """An optimizer with variables, each a function of its number alone, under some placement."""

    def __init__(self, made, place=one_replica, shapes=SHAPES):
        self.placement = place()
        with self.placement.scope():
            generator = np.random.default_rng(0)
            self.variables = [
                keras.Variable(generator.normal(size=shape).astype(np.float32), name=f"v{i}")
                for i, shape in enumerate(shapes)
            ]
            self.optimizer = made()
            self.optimizer.build(self.variables)

    def apply(self, gradients, is_compiled=False):
        """Makes a step for each of `gradients` by what is tested."""

        @tf.function
        def step(arrays):
            optimizers.apply(self.optimizer, arrays, self.variables, self.placement, is_compiled)

        for arrays in gradients:
            step([tf.constant(array) for array in arrays])
        return self.state()

    def apply_by_keras(self, gradients):
        for arrays in gradients:
            self.optimizer.apply([tf.constant(array) for array in arrays], self.variables)
        return self.state()

    def state(self):
        """Returns the variables and the optimizer's own, as arrays."""
        return [np.asarray(variable) for variable in (*self.variables, *self.optimizer.variables)]


def gradients_of(num_steps=NUM_STEPS):
    """Returns gradients of many sizes, 1e-4 to 100, some of them 0."""
    generator = np.random.default_rng(1)
    scales = 10.0 ** np.linspace(-4, 2, num_steps)

    def draw(scale, shape):
        return (scale * generator.choice([0, 1, 1], size=shape) * generator.normal(size=shape)).astype(np.float32)

    return [[draw(scale, shape) for shape in SHAPES] for scale in scales]


def assert_equal_to_some_ulps(actual, expected, num_ulps=8):
    """Compares float32 arrays: each term is rounded once, and the terms are as large as the largest entry or less."""
    for a, b in zip(actual, expected, strict=True):
        tolerance = num_ulps * np.spacing(np.abs(b).max().astype(np.float32))
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


def assert_equal_as_the_default_betas_allow(actual, expected, num_steps=NUM_STEPS):
    """Compares the states of Adam, ours first.

    1 - 0.999 is 1.3e-5 more in Keras's float64 than in the kernel's float32. The second moment is off by so much, and
    a step by the half: of 0.1 at most.
    """
    count = len(SHAPES)
    assert_equal_to_some_ulps(actual[count : count + 2], expected[count : count + 2])  # iterations, learning rate
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=num_steps * 0.1 * 0.7e-5)


# Optimizers by name.


def test_create_gives_the_class_of_that_name_and_epsilon_to_those_that_have_one():
    without = []
    for name in schema.OPTIMIZERS:
        made = optimizers.create(agent(optimizer=name, learning_rate=0.25, optimizer_epsilon=0.125), 10)
        assert type(made).__name__.lower() == name.removeprefix("centered_")
        assert float(made.learning_rate.numpy()) == 0.25
        if "epsilon" in inspect.signature(type(made)).parameters:
            assert made.epsilon == 0.125
        else:
            without.append(name)
    assert sorted(without) == ["adafactor", "ftrl", "lion", "sgd"]


def test_epsilon_of_adam_bounds_the_step_by_hand():
    # First step: m = (1 - b1) g, v = (1 - b2) g^2, each divided by 1 - b: lr * g / (|g| + epsilon * (1 - b2)^-0.5)
    # with epsilon as Keras adds it, to the root of v before that division: sqrt(1 - 0.999) = 0.0316.
    made = Twin(lambda: optimizers.create(agent(optimizer_epsilon=0.0316227766), 10), shapes=((1,),))
    start = made.state()[0]
    after = made.apply([[np.float32([3.0])]])[0]
    np.testing.assert_allclose(start - after, [0.1 * 3 / (3 + 1)], rtol=1e-5)  # float32's roots and powers


# One pass of Adam.


@PLACES
@pytest.mark.parametrize("epsilon, schedule", [(1e-7, "linear"), (1e-3, "constant")])
def test_apply_of_adam_equals_kerass_where_float32_has_the_betas(place, epsilon, schedule):
    rate = optimizers.create(agent(learning_rate_schedule=schedule), NUM_STEPS)._learning_rate

    def made():
        return keras.optimizers.Adam(rate if schedule == "linear" else 0.1, beta_1=0.75, beta_2=0.875, epsilon=epsilon)

    by_keras, ours = Twin(made, place), Twin(made, place)
    start = ours.state()
    expected, actual = by_keras.apply_by_keras(gradients_of()), ours.apply(gradients_of())
    assert_equal_to_some_ulps(actual, expected)
    for before, after in zip(start[: len(SHAPES)], actual, strict=False):
        assert np.abs(after - before).max() > 0.05


@PLACES
@pytest.mark.parametrize("schedule", ["linear", "inverse_time"])
def test_apply_of_adam_as_it_is_created_equals_kerass(place, schedule):
    made = agent(learning_rate_schedule=schedule, learning_rate_decay=0.5)
    by_keras, ours = (Twin(lambda: optimizers.create(made, NUM_STEPS), place) for _ in range(2))
    assert_equal_as_the_default_betas_allow(ours.apply(gradients_of()), by_keras.apply_by_keras(gradients_of()))


def test_apply_of_adam_when_the_rate_has_fallen_to_0_moves_nothing():
    ours = Twin(lambda: optimizers.create(agent(learning_rate_schedule="linear"), 2))
    ours.apply(gradients_of()[:2])
    before = ours.state()[: len(SHAPES)]
    after = ours.apply(gradients_of()[2:3])[: len(SHAPES)]
    for a, b in zip(after, before, strict=True):
        np.testing.assert_array_equal(a, b)


@PLACES
def test_apply_counts_its_iterations(place):
    ours = Twin(lambda: optimizers.create(agent(), 10), place)
    assert int(ours.optimizer.iterations.numpy()) == 0
    ours.apply(gradients_of(4))
    assert int(ours.optimizer.iterations.numpy()) == 4


def test_apply_of_adam_moves_the_copies_on_all_devices_alike():
    ours = Twin(lambda: optimizers.create(agent(), 10), two_replicas)
    ours.apply(gradients_of(3))
    for variable in (*ours.variables, *ours.optimizer.variables):
        copies = [np.asarray(copy) for copy in ours.placement.strategy.experimental_local_results(variable.value)]
        assert len(copies) == 2
        np.testing.assert_array_equal(copies[0], copies[1])


def test_apply_of_adam_goes_on_with_slots_that_keras_made():
    by_keras, ours = (Twin(lambda: optimizers.create(agent(), 10)) for _ in range(2))
    steps = gradients_of()
    ours.apply_by_keras(steps[:3])  # as after a checkpoint of another strategy
    assert_equal_as_the_default_betas_allow(ours.apply(steps[3:]), by_keras.apply_by_keras(steps))


@pytest.fixture
def applied_by_keras(monkeypatch):
    """Returns the list of the optimizers whose own `apply` was called."""
    called, apply = [], keras.optimizers.Optimizer.apply

    def record(self, *arguments, **others):
        called.append(type(self).__name__.lower())
        return apply(self, *arguments, **others)

    monkeypatch.setattr(keras.optimizers.Optimizer, "apply", record)
    return called


def test_apply_of_adam_is_not_kerass(applied_by_keras):
    Twin(lambda: optimizers.create(agent(), 10)).apply(gradients_of(1))
    assert applied_by_keras == []


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adamw"])
def test_apply_of_any_other_optimizer_is_kerass(applied_by_keras, name):
    other = Twin(lambda: optimizers.create(agent(optimizer=name), 10))
    other.apply(gradients_of(2))
    assert applied_by_keras == [name]  # traced once
    assert int(other.optimizer.iterations.numpy()) == 2


def test_apply_of_adam_where_xla_compiles_it_is_kerass(applied_by_keras):
    Twin(lambda: optimizers.create(agent(), 10)).apply(gradients_of(1), is_compiled=True)
    assert applied_by_keras == ["adam"]


def test_apply_of_adam_with_the_largest_second_moment_is_kerass(applied_by_keras):
    Twin(lambda: keras.optimizers.Adam(amsgrad=True)).apply(gradients_of(1))
    assert applied_by_keras == ["adam"]


def test_centered_rmsprop_is_that_of_mnih_et_al():
    made = optimizers.create(agent(optimizer="centered_rmsprop", learning_rate=0.1, optimizer_epsilon=0.01), 10)
    weight = keras.Variable(np.float32([1.0, -2.0]))
    made.build([weight])
    first = second = np.zeros(2)
    expected = weight.numpy()
    for gradient in ([0.5, -1.0], [0.25, 3.0], [-1.0, 0.0]):
        gradient = np.float32(gradient)
        first, second = 0.95 * first + 0.05 * gradient, 0.95 * second + 0.05 * gradient**2
        expected = expected - 0.1 * gradient / np.sqrt(second - first**2 + 0.01)
        made.apply([tf.constant(gradient)], [weight])
    np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-5)
