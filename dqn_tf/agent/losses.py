"""Losses of a Q-network: from its outputs and transitions to a loss and a priority for each transition."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import NamedTuple, Protocol

import tensorflow as tf

from dqn_tf.agent import actions
from dqn_tf.agent.munchausen import Munchausen
from dqn_tf.distribution.stateless import OnlineNetwork, TargetNetwork
from dqn_tf.experience.accumulator import Transitions


class LossOutput(NamedTuple):
    """What a loss returns.

    Attributes:
      loss: <float32>[B] of each transition. Its mean over the global batch is minimized.
      priority: <float32>[B] of at least 0: how much there is to learn from each. Its mean is the metric td_error_mean.
    """

    loss: tf.Tensor
    priority: tf.Tensor


class Loss(Protocol):
    """A loss: a function of these arguments, or an object that is called with them."""

    def __call__(self, online: OnlineNetwork, target: TargetNetwork, transitions: Transitions) -> LossOutput:
        """Returns the loss and the priority of each transition.

        Args:
          online, target: the networks; `online(observation)` are outputs, `online.values(observation)` action values.
          transitions: tensors [B, ...].
        """


@dataclasses.dataclass(frozen=True)
class QLearning:
    """The loss of the temporal-difference error of Q-learning.

    Attributes:
      of_error: errors <float32>[B] in, losses <float32>[B] out.
      double_q: the online network selects the action that the target network evaluates.
      is_noisy: networks have noise in targets too.
    """

    of_error: Callable[[tf.Tensor], tf.Tensor]
    double_q: bool
    is_noisy: bool = False

    def __call__(self, online: OnlineNetwork, target: TargetNetwork, transitions: Transitions) -> LossOutput:
        s_tm1, a_tm1, r_t, discount_t, s_t, *_ = transitions
        q_t = target.values(s_t, training=self.is_noisy)  # [B, A]
        selector = online.values(s_t, training=self.is_noisy) if self.double_q else q_t
        selector = actions.masked(selector, actions.legal_of(transitions.legal_t, q_t.shape[-1]))
        error = td_error(online.values(s_tm1), a_tm1, r_t, discount_t, q_t, selector)  # [B]
        return LossOutput(self.of_error(error), tf.abs(error))


@dataclasses.dataclass(frozen=True)
class MunchausenQLearning:
    """Munchausen-DQN: r_t + alpha [tau log pi(a_tm1)] + discount_t sum_a pi(a) (q_t[a] - tau log pi(a)).

    Source: Vieillard et al. 2020, eq. 2 (arXiv:2007.14430). pi is the softmax policy of the target network.

    Attributes:
      of_error: as QLearning has it; is_noisy too.
    """

    of_error: Callable[[tf.Tensor], tf.Tensor]
    munchausen: Munchausen
    is_noisy: bool = False

    def __call__(self, online: OnlineNetwork, target: TargetNetwork, transitions: Transitions) -> LossOutput:
        s_tm1, a_tm1, r_t, discount_t, s_t, *_ = transitions
        q_t = target.values(s_t, training=self.is_noisy)  # [B, A]
        policy, log_policy = self.munchausen.policy(q_t, actions.legal_of(transitions.legal_t, q_t.shape[-1]))
        legal_tm1 = actions.legal_of(transitions.legal_tm1, q_t.shape[-1])
        r_t += self.munchausen.reward(target.values(s_tm1, training=self.is_noisy), a_tm1, legal_tm1)
        wanted = tf.stop_gradient(r_t + discount_t * tf.reduce_sum(policy * (q_t - log_policy), axis=-1))
        taken = actions.one_hot(a_tm1, q_t.shape[-1])
        error = wanted - actions.value_of(online.values(s_tm1), taken)
        return LossOutput(self.of_error(error), tf.abs(error))


@dataclasses.dataclass(frozen=True)
class MaxminQLearning:
    """Maxmin Q-learning: every network learns the largest of the least values, max_a min_i q_i(s_t, a).

    Source: Lan et al. 2020 (arXiv:2002.06487), algorithm 1 with all networks in the subset that is updated. The loss is
    the sum over the networks, the priority the mean of their errors' sizes.

    Attributes:
      of_error: as QLearning has it; is_noisy too.
    """

    of_error: Callable[[tf.Tensor], tf.Tensor]
    is_noisy: bool = False

    def __call__(self, online: OnlineNetwork, target: TargetNetwork, transitions: Transitions) -> LossOutput:
        s_tm1, a_tm1, r_t, discount_t, s_t, *_ = transitions
        q_t = target.values(s_t, training=self.is_noisy)  # [B, A]
        legal = actions.masked(q_t, actions.legal_of(transitions.legal_t, q_t.shape[-1]))
        errors = [td_error(q_tm1, a_tm1, r_t, discount_t, q_t, legal) for q_tm1 in tf.unstack(online(s_tm1), axis=1)]
        priority = tf.add_n([tf.abs(error) for error in errors]) / len(errors)
        return LossOutput(tf.add_n([self.of_error(error) for error in errors]), priority)


def td_error(
    q_tm1: tf.Tensor, a_tm1: tf.Tensor, r_t: tf.Tensor, discount_t: tf.Tensor, q_t: tf.Tensor, q_t_selector: tf.Tensor
) -> tf.Tensor:
    """Returns the double Q-learning temporal-difference error.

    target = r_t + discount_t * q_t[argmax_a q_t_selector];  error = target - q_tm1[a_tm1].
    No gradient flows into the target. With q_t_selector = q_t this is plain Q-learning.

    Args:
      q_tm1: <float32>[B, A] online values in the source state.
      a_tm1: <int32>[B] actions taken, in [0, A).
      r_t: <float32>[B] n-step reward.
      discount_t: <float32>[B] gamma^k for the k <= n rewards summed, 0 if the episode terminated.
      q_t: <float32>[B, A] target network's values in the state reached.
      q_t_selector: <float32>[B, A] values whose largest selects the action in the state reached.
    Returns:
      <float32>[B] errors, in reward units.
    Source: van Hasselt et al. 2016, eq. 4 (arXiv:1509.06461).
    """
    selected, taken = actions.largest(q_t_selector), actions.one_hot(a_tm1, q_tm1.shape[-1])  # [B, A]
    target = tf.stop_gradient(r_t + discount_t * actions.value_of(q_t, selected))
    return target - actions.value_of(q_tm1, taken)


def huber(error: tf.Tensor) -> tf.Tensor:
    """Returns 0.5 e^2 where |e| <= 1 and |e| - 0.5 elsewhere, <float32>[B]. Source: doi:10.1038/nature14236."""
    size = tf.abs(error)
    quadratic = tf.minimum(size, 1.0)
    return 0.5 * tf.square(quadratic) + (size - quadratic)


def squared(error: tf.Tensor) -> tf.Tensor:
    """Returns 0.5 e^2, <float32>[B]."""
    return 0.5 * tf.square(error)


LOSSES = {"huber": huber, "squared": squared}


def create(loss: Callable, double_q: bool, is_noisy: bool = False) -> Loss:
    """Returns the Loss that a function is: one of a single argument is a loss of the temporal-difference error."""
    try:
        parameters = inspect.signature(loss).parameters.values()
    except (ValueError, TypeError):  # a function in C does not tell
        return loss
    required = [one for one in parameters if one.default is one.empty]
    return QLearning(loss, double_q, is_noisy) if len(required) == 1 else loss
