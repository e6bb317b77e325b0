"""The Q-network of a run, as often as it is needed: to learn, to act, as the best model."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dqn_tf.agent import heads, losses, policies
from dqn_tf.agent.architecture import Architecture
from dqn_tf.config import user_code
from dqn_tf.config.schema import Config, ConfigError
from dqn_tf.environment.spec import EnvironmentSpec


class NetworkPolicy:
    """Values of any network, through TensorFlow, as it acts: without dropout, with its moving means."""

    def __init__(self, network: keras.Model, head: Callable[[Any], tf.Tensor]):
        """Prepares.

        Args:
          head: makes action values of the network's outputs.
        """
        self._network = network
        self._call = tf.function(lambda x: head(network(x, training=False)), reduce_retracing=True, autograph=False)

    def load(self, weights: Sequence[np.ndarray]) -> None:
        for variable, value in zip(self._network.weights, weights, strict=True):
            variable.assign(value)

    def values(self, observation: np.ndarray) -> np.ndarray:
        return self._call(tf.convert_to_tensor(observation)).numpy()


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
        name, double_q = self.config.learning.loss, self.config.learning.double_q
        if name in losses.LOSSES:
            return losses.create(losses.LOSSES[name], double_q)
        return _OwnLoss(name, losses.create(user_code.find("loss", name), double_q))


@dataclasses.dataclass(frozen=True)
class _OwnLoss:
    """A loss of the user's, --loss=`name`; what it does wrong is told when the update is traced."""

    name: str
    loss: losses.Loss

    def __call__(self, online, target, transitions):
        try:
            loss, priority = map(tf.convert_to_tensor, self.loss(online, target, transitions))
        except Exception as error:
            raise user_code.failure(f"--loss={self.name}", error) from error
        if online.outputs is None:
            raise ConfigError(f"--loss={self.name} does not call online(observation), so there is nothing to learn.")
        size = transitions.a_tm1.shape[0]
        for what, tensor in (("loss", loss), ("priority", priority)):
            if tensor.dtype != tf.float32 or not tensor.shape.is_compatible_with([size]):
                raise ConfigError(
                    f"--loss={self.name} made a {what} {tensor.dtype.name}{tensor.shape}, which must be float32[B], "
                    f"here [{size}]: one for each transition."
                )
        return losses.LossOutput(loss, priority)
