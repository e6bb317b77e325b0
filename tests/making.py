"""Parts of a run as tests make them: environments, a spec, a network, a learner."""

import functools

import numpy as np
from gymnasium import spaces

from dqn_tf.agent import architecture, learner, losses
from dqn_tf.config import settings
from dqn_tf.distribution import reducer
from dqn_tf.environment.factory import Factory
from dqn_tf.environment.spec import EnvironmentSpec


def environments(env_id, **values):
    """Returns the Factory of a run of an environment and of settings, by name."""
    return Factory.of(settings.build({"env": env_id, **values}))


def spec(shape, dtype, num_actions, largest=1):
    """Returns the EnvironmentSpec of observations [*shape] from 0 to `largest`."""
    space = spaces.Box(0, largest, shape, np.dtype(dtype).type)
    return EnvironmentSpec("Made-v0", space, tuple(shape), np.dtype(dtype), spaces.Discrete(num_actions), None, None)


def network(kind, shape, dtype, num_actions, *, largest=1, **values):
    """Returns a Q-network of an architecture.

    Args:
      largest: what bytes are divided by.
      values: settings by name, such as hidden_units.
    """
    made = spec(shape, dtype, num_actions, largest)
    return architecture.ARCHITECTURES[kind].build(made, settings.build(values))


def builder(*args, **values):
    """Returns a function that makes the network of such arguments."""
    return functools.partial(network, *args, **values)


def make_learner(placement, build, learning, batch_size, total_updates, jit_compile=False, wire_precision="float32"):
    """Returns the Learner of a network and of settings of learning."""
    shared = reducer.GradientSum(placement, wire_precision)
    return learner_with(shared, build, learning, batch_size, total_updates, jit_compile)


def learner_with(shared, build, learning, batch_size, total_updates, jit_compile=False):
    """Returns the same with a Reducer."""
    loss = losses.create(losses.LOSSES[learning.loss], learning.double_q)
    return learner.Learner(shared, build, loss, learning, batch_size, total_updates, jit_compile)
