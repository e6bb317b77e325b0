"""The loss that the settings ask for: one of the field's, or the user's own."""

import dataclasses

import tensorflow as tf

from dqn_tf.agent import losses
from dqn_tf.agent.distributional import CategoricalQLearning, QuantileQLearning
from dqn_tf.agent.munchausen import Munchausen
from dqn_tf.config import user_code
from dqn_tf.config.schema import ConfigError, Learning, Network


def create(network: Network, learning: Learning) -> losses.Loss:
    """Returns the loss of such a head. Raises ConfigError if there is no function --loss=module:function."""
    double_q, is_noisy, soft = learning.double_q, network.noisy, None
    if learning.munchausen:
        soft = Munchausen(learning.munchausen_alpha, learning.munchausen_tau, learning.munchausen_clip)
    if learning.loss not in losses.LOSSES:
        return _OwnLoss(learning.loss, losses.create(user_code.find("loss", learning.loss), double_q, is_noisy))
    of_error = losses.LOSSES[learning.loss]
    if network.head == "categorical":
        return CategoricalQLearning(network.v_min, network.v_max, double_q, is_noisy)
    if network.head in ("quantile", "implicit_quantile"):
        is_implicit = network.head == "implicit_quantile"
        return QuantileQLearning(learning.huber_kappa, double_q, soft, is_noisy, is_implicit)
    if soft:
        return losses.MunchausenQLearning(of_error, soft, is_noisy)
    if network.num_critics > 1:
        return losses.MaxminQLearning(of_error, is_noisy)
    return losses.QLearning(of_error, double_q, is_noisy)


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
