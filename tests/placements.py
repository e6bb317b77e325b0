"""Placements in the test's own process, on logical CPUs."""

import tensorflow as tf

from dqn_tf.distribution import strategy


def replicas(count):
    """Returns the Placement of so many replicas."""
    if count == 1:
        return strategy.Placement(tf.distribute.get_strategy(), 1, 0, 1)
    return strategy.Placement(tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(count)]), 1, 0, count)


def one_replica():
    return replicas(1)


def two_replicas():
    return replicas(2)
