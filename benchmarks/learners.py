"""Learners as benchmarks need them: of random transitions, without an environment."""

import numpy as np
from gymnasium import spaces

from dqn_tf.agent import architecture
from dqn_tf.agent.learner import Learner
from dqn_tf.agent.q_network import QNetwork
from dqn_tf.config.schema import Config
from dqn_tf.distribution.reducer import GradientSum, Reducer
from dqn_tf.distribution.strategy import Placement
from dqn_tf.environment.spec import EnvironmentSpec


def make(
    placement: Placement,
    kind: str,
    observations: tuple[tuple[int, ...], str, int],
    config: Config,
    batch_size: int,
    jit_compile: bool,
) -> tuple[Learner, Reducer]:
    """Returns the Learner of such a network, and its Reducer.

    Args:
      kind: mlp or nature_cnn.
      observations: their shape and dtype, and the number of actions.
      batch_size: transitions of an update, over all workers.
    """
    shape, dtype, num_actions = observations
    space = spaces.Box(0, 255 if dtype == "uint8" else 1, shape, np.dtype(dtype).type)
    spec = EnvironmentSpec("Random-v0", space, shape, np.dtype(dtype), spaces.Discrete(num_actions), None, None)
    network = QNetwork(architecture.ARCHITECTURES[kind], spec, config)
    reducer = GradientSum(placement, config.communication.wire_precision)
    learner = Learner(
        reducer,
        network.build,
        network.loss(),
        config.learning,
        batch_size,
        total_updates=100_000,
        jit_compile=jit_compile,
    )
    return learner, reducer
