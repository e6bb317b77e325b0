"""Greedy policies over a snapshot of a Q-network's weights.

A TensorFlow call costs 250 us and more from Python, a small dense network in NumPy 17 us: small networks act and are
evaluated in NumPy, every other network through TensorFlow. Both give the same values (tested); with
--precision=bfloat16 the NumPy ones are the more exact.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from dqn_tf.agent import choice


class Policy(Protocol):
    """Q-values from the weights last loaded."""

    def load(self, weights: Sequence[np.ndarray]) -> None:
        """Takes over `weights`, in the order of the network's `weights`."""

    def values(self, observation: np.ndarray, noise_seed: int | None = None) -> np.ndarray:
        """Returns <float32>[N, A] Q-values of observations [N, *obs].

        Args:
          noise_seed: of the noise of noisy layers; None: there is none.
        """


def nearly_greedy(
    policy: Policy,
    observation: np.ndarray,
    epsilon: float,
    generators: Sequence[np.random.Generator],
    legal: np.ndarray | None = None,
) -> np.ndarray:
    """Returns <int32>[N] the legal actions of largest value, each replaced by a random one with probability `epsilon`.

    Args:
      generators: one for each of the N observations; none where epsilon is 0.
      legal: <bool>[N, A], None: all are.
    """
    values = policy.values(observation)
    action = choice.greedy(values, legal).astype(np.int32)
    if epsilon:
        for i, generator in enumerate(generators):
            if generator.random() < epsilon:
                if legal is None:
                    action[i] = generator.integers(values.shape[-1])
                else:
                    action[i : i + 1] = choice.uniform(legal[i : i + 1], generator.random(1))
    return action
