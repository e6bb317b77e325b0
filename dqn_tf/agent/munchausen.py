"""Munchausen reinforcement learning: the reward gains the policy's log-probability, and targets are soft.

Source: Vieillard et al. 2020 (arXiv:2007.14430).
"""

import dataclasses

import tensorflow as tf

from dqn_tf.agent import actions


@dataclasses.dataclass(frozen=True)
class Munchausen:
    """The softmax policy of the target network's values.

    Attributes:
      alpha: weight of the log-probability in the reward.
      tau: temperature of the policy, in return units.
      clip: least tau log pi, at most 0.
    """

    alpha: float
    tau: float
    clip: float

    def reward(self, q_tm1: tf.Tensor, a_tm1: tf.Tensor, legal: tf.Tensor | None) -> tf.Tensor:
        """Returns alpha * clip(tau log pi(a_tm1 | s_tm1), clip, 0), <float32>[B], which is added to r_t.

        Args:
          q_tm1: <float32>[B, A] the target network's values in the source state.
          legal: <bool>[B, A] actions allowed there; None: all.
        """
        _, log_policy = self.policy(q_tm1, legal)
        log_probability = actions.value_of(log_policy, actions.one_hot(a_tm1, q_tm1.shape[-1]))
        return self.alpha * tf.clip_by_value(log_probability, self.clip, 0.0)

    def policy(self, q: tf.Tensor, legal: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns pi = softmax(q / tau) and tau log pi, <float32>[B, A]; both are 0 if an action is not legal."""
        q = actions.masked(q, legal)
        q = q - tf.reduce_max(q, axis=-1, keepdims=True)
        log_policy = q - self.tau * tf.reduce_logsumexp(q / self.tau, axis=-1, keepdims=True)
        policy = tf.exp(log_policy / self.tau)
        return policy, log_policy if legal is None else tf.where(legal, log_policy, 0.0)
