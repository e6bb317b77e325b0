"""Greedy policies over a snapshot of a Q-network's weights.

A TensorFlow call costs 250 us and more from Python, a small dense network in NumPy 17 us: dense networks act and are
evaluated in NumPy, every other network through TensorFlow. Both give the same values (tested); with
--precision=bfloat16 the NumPy ones are the more exact.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from dqn_tf.agent import choice

_ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0.0, out=x),
    "tanh": lambda x: np.tanh(x, out=x),
}


class Policy(Protocol):
    """Q-values from the weights last loaded."""

    def load(self, weights: Sequence[np.ndarray]) -> None:
        """Takes over `weights`, in the order of the network's `weights`."""

    def values(self, observation: np.ndarray) -> np.ndarray:
        """Returns <float32>[N, A] Q-values of observations [N, *obs]."""


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


class DensePolicy:
    """Values of an mlp network, in NumPy."""

    def __init__(self, activation: str, observation_scale: float):
        self._activation = _ACTIVATIONS[activation]
        self._scale = np.float32(observation_scale)
        self._layers: list[tuple[np.ndarray, np.ndarray]] = []

    def load(self, weights: Sequence[np.ndarray]) -> None:
        self._layers = list(zip(weights[::2], weights[1::2], strict=True))

    def values(self, observation: np.ndarray) -> np.ndarray:
        x = observation.reshape(len(observation), -1) * self._scale
        for kernel, bias in self._layers[:-1]:
            x = self._activation(x @ kernel + bias)
        kernel, bias = self._layers[-1]
        return x @ kernel + bias


def dense(activation: str, observation_scale: float) -> DensePolicy | None:
    """Returns the policy of an mlp network, None if its activation has no NumPy twin here."""
    return DensePolicy(activation, observation_scale) if activation in _ACTIVATIONS else None
