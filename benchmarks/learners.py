"""Learners as benchmarks need them: of random transitions, without an environment."""

from collections.abc import Callable

import numpy as np
from gymnasium import spaces

from dqn_tf.agent import architecture
from dqn_tf.agent.learner import Learner
from dqn_tf.agent.policies import Policy
from dqn_tf.agent.q_network import QNetwork
from dqn_tf.config.schema import Config
from dqn_tf.distribution.reducer import GradientSum, Reducer
from dqn_tf.distribution.strategy import Placement
from dqn_tf.environment.spec import EnvironmentSpec
from dqn_tf.experience.accumulator import Transitions


def make(
    placement: Placement,
    kind: str,
    observations: tuple[tuple[int, ...], str, int],
    config: Config,
    batch_size: int,
    jit_compile: bool,
    observed: Callable[[Transitions, int], Transitions] | None = None,
) -> tuple[Learner, Reducer]:
    """Returns the Learner of such a network, and its Reducer.

    Args:
      kind: name of the architecture.
      observations: their shape and dtype, and the number of actions.
      batch_size: transitions of an update, over all workers.
      observed: see Learner.
    """
    network = _network(kind, observations, config)
    reducer = GradientSum(placement, config.communication.wire_precision)
    learner = Learner(
        reducer,
        network.build,
        network.loss(),
        config.learning,
        batch_size,
        total_updates=100_000,
        jit_compile=jit_compile,
        observed=observed,
    )
    return learner, reducer


def policy(kind: str, observations: tuple[tuple[int, ...], str, int], config: Config) -> Policy:
    """Returns the policy of such a network, without weights."""
    return _network(kind, observations, config).policy()


def random_transitions(
    generator: np.random.Generator, leading: tuple[int, int], observations: tuple[tuple[int, ...], str, int]
) -> Transitions:
    """Returns random Transitions of this leading shape."""
    shape, dtype, num_actions = observations

    def observed():
        if dtype == "uint8":
            return generator.integers(256, size=(*leading, *shape), dtype=np.uint8)
        return generator.normal(size=(*leading, *shape)).astype(np.float32)

    action = generator.integers(num_actions, size=leading, dtype=np.int32)
    reward = generator.normal(size=leading).astype(np.float32)
    return Transitions(observed(), action, reward, np.full(leading, 0.99, np.float32), observed())


def _network(kind, observations, config):
    shape, dtype, num_actions = observations
    space = spaces.Box(0, 255 if dtype == "uint8" else 1, shape, np.dtype(dtype).type)
    spec = EnvironmentSpec("Random-v0", space, shape, np.dtype(dtype), spaces.Discrete(num_actions), None, None)
    return QNetwork(architecture.ARCHITECTURES[kind], spec, config)
