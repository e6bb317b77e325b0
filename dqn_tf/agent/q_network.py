"""The Q-network of a run, as often as it is needed: to learn, to act, as the best model."""

import dataclasses

import keras

from dqn_tf.agent import heads, losses, policies
from dqn_tf.agent.architecture import Architecture
from dqn_tf.config import user_code
from dqn_tf.config.schema import Config
from dqn_tf.environment.spec import EnvironmentSpec


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
            made = policies.NetworkPolicy(network, heads.values_of(network))
        return made

    def loss(self) -> losses.Loss:
        """Returns the loss that is asked for."""
        name, double_q = self.config.learning.loss, self.config.learning.double_q
        return losses.create(losses.LOSSES.get(name) or user_code.find("loss", name), double_q)
