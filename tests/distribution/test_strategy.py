"""The Placement of one process: the threads it is told, and calls for each replica and each copy of a variable."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dqn_tf.distribution import strategy
from tests.placements import one_replica, two_replicas


@pytest.fixture
def threads(monkeypatch):
    """Returns what TensorFlow is told of threads, by kind; it may be told so once in a process."""
    told = {}
    for kind in ("intra", "inter"):
        name = f"set_{kind}_op_parallelism_threads"
        monkeypatch.setattr(tf.config.threading, name, lambda number, kind=kind: told.update({kind: number}))
    return told


@pytest.mark.parametrize("given, expected", [((), (0, 0)), ((3,), (3, 0)), ((3, 2), (3, 2))])
def test_create_tells_tensorflow_its_threads(threads, given, expected):
    placement = strategy.create("default", 0, None, *given)
    assert (threads["intra"], threads["inter"]) == expected
    assert (placement.num_workers, placement.worker_index, placement.num_replicas) == (1, 0, 1)
    assert placement.is_chief


@pytest.mark.parametrize("place, count", [(one_replica, 1), (two_replicas, 2)])
def test_update_calls_the_function_for_each_copy_with_the_copies_of_its_arguments(place, count):
    placement = place()
    with placement.scope():
        variable, other = keras.Variable(np.float32([1, 2])), keras.Variable(np.float32([10, 20]))

    @tf.function
    def update(tensor):
        placement.update(
            variable.value, lambda target, source, added: target.assign_add(source + added), (other.value, tensor)
        )

    update(tf.constant([0.5, 0.25]))
    copies = placement.strategy.experimental_local_results(variable.value)
    assert len(copies) == count
    for copy in copies:
        np.testing.assert_array_equal(copy, [1 + 10 + 0.5, 2 + 20 + 0.25])
    np.testing.assert_array_equal(other, [10, 20])


@pytest.mark.parametrize("place, numbers", [(one_replica, [0]), (two_replicas, [0, 1])])
def test_replica_numbers_the_replicas(place, numbers):
    placement = place()

    @tf.function
    def number():
        return placement.run(lambda: tf.convert_to_tensor(placement.replica()), ())

    assert [int(result) for result in placement.strategy.experimental_local_results(number())] == numbers


@pytest.mark.parametrize("text", ["", "a warning of /tmp/ü", "/tmp/caf\udce9/run", "long" * 100])
def test_exchange_of_two_workers_returns_any_text_that_may_hold_a_path(monkeypatch, text):
    placement = strategy.Placement(tf.distribute.get_strategy(), 2, 0, 1)
    monkeypatch.setattr(strategy.Placement, "gather", lambda self, mine: np.concatenate([mine, mine]))
    assert placement.exchange(text) == [text, text]
