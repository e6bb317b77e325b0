"""Environment steps to n-step transitions. The only place that knows terminated from truncated.

After this module an episode's end is a `discount_t` of 0 where it terminated, and nothing at all where it was cut by
a time limit: the value of the true last observation is bootstrapped from.
"""

from typing import NamedTuple

import numpy as np


class Steps(NamedTuple):
    """Some steps of N environments, in time-major order.

    Attributes:
      observation: [T, N, *obs] acted on.
      action: <int32>[T, N]
      reward: <float32>[T, N]
      terminated: <bool>[T, N] nothing can be earned after this: the episode ended for good, or a life counts as one.
      truncated: <bool>[T, N] the episode was cut here, by a time limit.
      next_observation: [T, N, *obs] the true next one: where the episode ended its last, never the reset one.
    """

    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    next_observation: np.ndarray


class Transitions(NamedTuple):
    """n-step transitions, of any leading shape.

    Attributes:
      s_tm1: [..., *obs] acted on.
      a_tm1: <int32>[...]
      r_t: <float32>[...] discounted sum of the k <= n rewards that follow.
      discount_t: <float32>[...] discount^k, 0 where the episode terminated within those k steps.
      s_t: [..., *obs] k steps later.
    """

    s_tm1: np.ndarray
    a_tm1: np.ndarray
    r_t: np.ndarray
    discount_t: np.ndarray
    s_t: np.ndarray


class Accumulator:
    """Makes exactly one transition of every environment step, as soon as its n-step chain is complete.

    A chain is complete after n steps or at the end of the episode. Steps with an open chain wait for the next `add`.
    Where `pending` is 0 a new Accumulator goes on just the same, so at an episode boundary there is nothing to save.
    """

    def __init__(self, n_step: int, discount: float, reward_clip: float = 0.0):
        """Makes an empty accumulator.

        Args:
          n_step: rewards summed before bootstrapping, at least 1.
          discount: gamma, in [0, 1].
          reward_clip: rewards are clipped to [-reward_clip, reward_clip] before they are summed; 0: they are not.
        """
        self._n_step = n_step
        self._reward_clip = reward_clip
        self._powers = np.array([discount**k for k in range(n_step + 1)], np.float32)
        self._waiting = None  # Steps [P, N, ...], the last rows seen, P <= n - 1
        self._given = None  # <bool>[P, N], which of their transitions were given out

    def clear(self) -> None:
        """Forgets the steps that wait for the end of their chain; they become no transitions."""
        self._waiting = self._given = None

    @property
    def pending(self) -> int:
        """Number of steps that wait for the end of their chain."""
        return 0 if self._given is None else int(np.count_nonzero(~self._given))

    def add(self, steps: Steps) -> Transitions:
        """Returns the transitions whose chains these steps complete.

        r_t = sum_{j<k} discount^j * reward_{t+j};  discount_t = discount^k * (not terminated);  k <= n, less only where
        the episode ended. Each sum is taken in order of time in float32, so the values do not depend on how the steps
        were split over calls.

        Args:
          steps: [T, N, ...] that follow those of the last call, T >= 0. They are copied, not kept.
        Returns:
          Transitions of leading shape [M], in order of source time, then environment. Over all calls each
          environment's transitions come in order of time.
        """
        if self._reward_clip:
            steps = steps._replace(reward=np.clip(steps.reward, -self._reward_clip, self._reward_clip))
        if self._given is None:
            self._waiting = Steps(*(column[:0] for column in steps))
            self._given = np.zeros(steps.action[:0].shape, bool)
        num_waiting = len(self._given)
        reward, terminated, truncated = (
            np.concatenate((getattr(self._waiting, name), getattr(steps, name)))
            for name in ("reward", "terminated", "truncated")
        )  # [P + T, N]
        r_t, length, is_complete = self._chains(reward, terminated | truncated)

        given = np.concatenate((self._given, np.zeros(steps.action.shape, bool)))
        is_new = is_complete & ~given
        time, environment = np.nonzero(is_new)
        last = time + length[is_new] - 1  # Never a waiting row: a chain that ends there was given out before.
        transitions = Transitions(
            s_tm1=self._select(self._waiting.observation, steps.observation, is_new),
            a_tm1=self._select(self._waiting.action, steps.action, is_new),
            r_t=r_t[is_new],
            discount_t=np.where(terminated[last, environment], np.float32(0), self._powers[length[is_new]]),
            s_t=steps.next_observation[last - num_waiting, environment],
        )
        self._given = _last(given[:0], given | is_new, self._n_step - 1)
        self._waiting = Steps(*(_last(*rows, self._n_step - 1) for rows in zip(self._waiting, steps, strict=True)))
        return transitions

    def _chains(self, reward, ended):
        """Returns each step's reward sum <float32>[L, N], chain length <int>[L, N] and is_complete <bool>[L, N]."""
        r_t = np.zeros(reward.shape, np.float32)
        length = np.zeros(reward.shape, np.intp)
        is_open = np.ones(reward.shape, bool)
        for k in range(min(self._n_step, len(reward))):
            source = slice(None, len(reward) - k)  # the steps with a step k later
            np.add(r_t[source], self._powers[k] * reward[k:], out=r_t[source], where=is_open[source])
            length[source] += is_open[source]
            is_open[source] &= ~ended[k:]
        return r_t, length, ~is_open | (length == self._n_step)

    @staticmethod
    def _select(waiting, new, mask):
        """Returns [M, ...], what mask <bool>[P + T, N] takes of waiting [P, N, ...] and new [T, N, ...]."""
        return np.concatenate((waiting[mask[: len(waiting)]], new[mask[len(waiting) :]]))


def _last(waiting, new, num_rows):
    """Returns a copy of the last num_rows rows, or all there are, of waiting followed by new."""
    num_new = min(len(new), num_rows)
    num_waiting = min(len(waiting), num_rows - num_new)
    return np.concatenate((waiting[len(waiting) - num_waiting :], new[len(new) - num_new :]))
