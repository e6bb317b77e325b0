"""Losses of the distribution of returns: C51, and quantiles at fixed or random fractions (QR-DQN, IQN)."""

import dataclasses
from typing import Any

import tensorflow as tf

from dqn_tf.agent import actions, layers
from dqn_tf.agent.losses import LossOutput
from dqn_tf.agent.munchausen import Munchausen
from dqn_tf.distribution.stateless import OnlineNetwork, TargetNetwork
from dqn_tf.experience.accumulator import Transitions


@dataclasses.dataclass(frozen=True)
class CategoricalQLearning:
    """C51: cross-entropy of the projected target distribution. Source: Bellemare et al. 2017 (arXiv:1707.06887).

    The priority is the Kullback-Leibler divergence, as in Hessel et al. 2018 (arXiv:1710.02298).

    Attributes:
      v_min, v_max: least and largest of the values that the network's Z logits are of.
      double_q: the online network selects the action that the target network evaluates.
      is_noisy: networks have noise in targets too.
    """

    v_min: float
    v_max: float
    double_q: bool
    is_noisy: bool = False

    def __call__(self, online: OnlineNetwork, target: TargetNetwork, transitions: Transitions) -> LossOutput:
        s_tm1, a_tm1, r_t, discount_t, s_t, *_ = transitions
        logits_t = target(s_t, training=self.is_noisy)  # [B, A, Z]
        selector = online.values(s_t, training=self.is_noisy) if self.double_q else target.head(logits_t)
        legal = actions.legal_of(transitions.legal_t, selector.shape[-1])
        p_t = tf.nn.softmax(actions.of_action(logits_t, actions.largest(selector, legal)))  # [B, Z]
        atoms = tf.linspace(self.v_min, self.v_max, p_t.shape[-1])
        wanted = tf.stop_gradient(project(r_t[:, None] + discount_t[:, None] * atoms, p_t, atoms))
        logits = online(s_tm1)
        logits = actions.of_action(logits, actions.one_hot(a_tm1, logits.shape[1]))
        loss = tf.nn.softmax_cross_entropy_with_logits(wanted, logits)
        entropy = -tf.reduce_sum(tf.math.xlogy(wanted, wanted), axis=-1)
        return LossOutput(loss, tf.maximum(loss - entropy, 0.0))


def project(values: tf.Tensor, p: tf.Tensor, atoms: tf.Tensor) -> tf.Tensor:
    """Returns probabilities <float32>[B, Z] of atoms [Z] for those of other values, each shared by the two nearest.

    Args:
      values: <float32>[B, Z'] that the probabilities p [B, Z'] are of; cut at the ends of the atoms.
    """
    step = atoms[1] - atoms[0]
    values = tf.clip_by_value(values, atoms[0], atoms[-1])
    share = 1.0 - tf.abs(values[:, tf.newaxis, :] - atoms[tf.newaxis, :, tf.newaxis]) / step  # [B, Z, Z']
    return tf.linalg.matvec(tf.clip_by_value(share, 0.0, 1.0), p)


@dataclasses.dataclass(frozen=True)
class QuantileQLearning:
    """Quantile regression of returns, at fixed fractions or those that the network has drawn.

    loss = sum_i mean_j |tau_i - [delta_ij < 0]| huber(delta_ij) / kappa;  delta_ij = target_j - quantile_i.
    The priority is the loss. Source: Dabney et al. 2018 (arXiv:1710.10044; arXiv:1806.06923, eq. 3).

    Attributes:
      kappa: errors beyond it count by their size.
      double_q: the online network selects the action that the target network evaluates.
      munchausen: soft targets in place of that, None: none.
      is_noisy: networks have noise in targets too.
      is_implicit: the network draws fractions, for targets too.
    """

    kappa: float
    double_q: bool
    munchausen: Munchausen | None = None
    is_noisy: bool = False
    is_implicit: bool = False

    def __call__(self, online: OnlineNetwork, target: TargetNetwork, transitions: Transitions) -> LossOutput:
        s_tm1, a_tm1, r_t, discount_t, s_t, *_ = transitions
        outputs_t = target(s_t, training=self.is_noisy or self.is_implicit)
        z_t, q_t = _quantiles(outputs_t)[0], target.head(outputs_t)  # [B, A, N'], [B, A]
        num_actions = q_t.shape[-1]
        legal_t = actions.legal_of(transitions.legal_t, num_actions)
        if self.munchausen:
            policy, log_policy = self.munchausen.policy(q_t, legal_t)
            z_t = tf.reduce_sum(policy[..., None] * (z_t - log_policy[..., None]), axis=1)
            q_tm1 = target.values(s_tm1, training=self.is_noisy)
            r_t += self.munchausen.reward(q_tm1, a_tm1, actions.legal_of(transitions.legal_tm1, num_actions))
        else:
            selector = online.values(s_t, training=self.is_noisy) if self.double_q else q_t
            z_t = actions.of_action(z_t, actions.largest(selector, legal_t))
        wanted = tf.stop_gradient(r_t[:, None] + discount_t[:, None] * z_t)  # [B, N']
        z, tau = _quantiles(online(s_tm1))
        z = actions.of_action(z, actions.one_hot(a_tm1, num_actions))  # [B, N]
        loss = quantile_huber(wanted[:, None, :] - z[:, :, None], tau[:, :, None], self.kappa)
        loss = tf.reduce_sum(tf.reduce_mean(loss, axis=2), axis=1)
        return LossOutput(loss, loss)


def _quantiles(outputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns quantiles <float32>[B, A, N], and their fractions [B, N] or [1, N]."""
    if isinstance(outputs, dict):
        return outputs["quantiles"], outputs["fractions"]
    return outputs, tf.constant(layers.midpoints(outputs.shape[-1])[None])


def quantile_huber(delta: tf.Tensor, tau: tf.Tensor, kappa: float) -> tf.Tensor:
    """Returns |tau - [delta < 0]| huber(delta) / kappa of errors of any shape; kappa 0: |tau - [delta < 0]| |delta|."""
    size = tf.abs(delta)
    if kappa:
        quadratic = tf.minimum(size, kappa)
        size = (0.5 * tf.square(quadratic) + kappa * (size - quadratic)) / kappa
    return tf.abs(tau - tf.cast(delta < 0.0, tf.float32)) * size
