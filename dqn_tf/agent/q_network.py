"""The Q-network of a run, as often as it is needed: to learn, to act, as the best model."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dqn_tf.agent import heads, loss_settings, losses, policies
from dqn_tf.agent.architecture import Architecture
from dqn_tf.agent.layers import NoisyDense
from dqn_tf.config.schema import Config
from dqn_tf.distribution import packing
from dqn_tf.distribution.stateless import StatelessNetwork
from dqn_tf.environment.spec import EnvironmentSpec


class NetworkPolicy:
    """Values of any network, through TensorFlow, as it acts: without dropout, with its moving means."""

    def __init__(self, network: keras.Model, head: Callable[[Any], tf.Tensor]):
        """Prepares.

        Args:
          head: makes action values of the network's outputs.
        """
        self._network = network
        self._stateless = StatelessNetwork(network, head, [True] * len(network.weights))
        self._take = tf.function(self._assign, autograph=False)
        self._call = tf.function(lambda x: head(network(x, training=False)), reduce_retracing=True, autograph=False)
        self._noisy_call = tf.function(self._with_noise, reduce_retracing=True, autograph=False)

    def load(self, weights: Sequence[np.ndarray]) -> None:
        if isinstance(weights, packing.Packed):
            self._take(weights.vector)  # one call, and on the device
        else:
            for variable, value in zip(self._network.weights, weights, strict=True):
                variable.assign(value)

    def _assign(self, vector):
        variables = self._network.weights
        values = packing.unpack(vector, [one.shape for one in variables])
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def values(self, observation: np.ndarray, noise_seed: int | None = None) -> np.ndarray:
        observation = tf.convert_to_tensor(observation)
        if noise_seed is None:
            return self._call(observation).numpy()
        return self._noisy_call(observation, tf.constant(noise_seed, tf.int64)).numpy()

    def _with_noise(self, observation, seed):
        """Returns the values of the network as it acts, with noise in the weights of its noisy layers."""
        stateless = self._stateless
        weights, state = stateless.values_of(self._network)
        place = {id(variable): i for i, variable in enumerate(stateless.trainable)}
        for number, layer in enumerate(one for one in self._network._flatten_layers() if isinstance(one, NoisyDense)):
            seeds = [tf.stack([seed, 2 * number + i]) for i in range(2)]
            for variable, noise in zip((layer.kernel, layer.bias), layer.drawn(*seeds), strict=True):
                weights[place[id(variable)]] = weights[place[id(variable)]] + noise
        seeds = stateless.seeds([0] * stateless.num_seeds, seed)
        return stateless.head(stateless(weights, state, seeds, observation, training=False)[0])


@dataclasses.dataclass(frozen=True)
class QNetwork:
    """Makes copies of one run's Q-network: the same architecture, the same initial weights."""

    architecture: Architecture
    spec: EnvironmentSpec
    config: Config

    def build(self) -> keras.Model:
        """Returns a new network."""
        return self.architecture.build(self.spec, self.config)

    def policy(self) -> policies.Policy:
        """Returns the cheapest greedy policy for it, without weights yet."""
        made = self.architecture.policy and self.architecture.policy(self.spec, self.config)
        if made is None:
            network = self.build()
            made = NetworkPolicy(network, heads.values_of(network))
        return made

    def loss(self) -> losses.Loss:
        """Returns the loss that is asked for."""
        return loss_settings.create(self.config.network, self.config.learning)
