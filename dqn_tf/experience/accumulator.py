"""Makes n-step transitions of environment steps. Only this module tells terminated from truncated.

A transition in which the episode terminated has a `discount_t` of 0. If a time limit cut the episode, the transition
bootstraps from the true last observation, as any other does.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Steps(NamedTuple):
    """Some steps of N environments, in time-major order.

    Attributes:
      observation: [T, N, *obs] before the action.
      action: <int32>[T, N]
      reward: <float32>[T, N]
      terminated: <bool>[T, N] no reward follows: the episode ended, or a life was lost and counts as the end.
      truncated: <bool>[T, N] a time limit cut the episode here.
      next_observation: [T, N, *obs] after the action; where the episode ended, its last observation.
      legal, next_legal: None: there are no masks. See MaskedSteps.
    """

    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    next_observation: np.ndarray
    legal = None
    next_legal = None


class MaskedSteps(NamedTuple):
    """Steps of environments with action masks: the columns of Steps, and two more.

    Attributes:
      legal: <bool>[T, N, A] actions that are legal in `observation`, at least one.
      next_legal: <bool>[T, N, A] those of next_observation.
    """

    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    next_observation: np.ndarray
    legal: np.ndarray
    next_legal: np.ndarray


class Transitions(NamedTuple):
    """n-step transitions, of any leading shape.

    Attributes:
      s_tm1: [..., *obs] before the action.
      a_tm1: <int32>[...]
      r_t: <float32>[...] discounted sum of the k <= n rewards that follow.
      discount_t: <float32>[...] discount^k, 0 where the episode terminated within those k steps.
      s_t: [..., *obs] k steps later.
      legal_tm1, legal_t: None: there are no masks. See MaskedTransitions.
    """

    s_tm1: np.ndarray
    a_tm1: np.ndarray
    r_t: np.ndarray
    discount_t: np.ndarray
    s_t: np.ndarray
    legal_tm1 = None
    legal_t = None


class MaskedTransitions(NamedTuple):
    """Transitions of environments with action masks: the columns of Transitions, and two more.

    Whatever takes Transitions takes these too; `_make` of either gives one of the same kind.

    Attributes:
      legal_tm1: <uint8>[..., ceil(A / 8)] actions that are legal in s_tm1, at least one; a bit each, the lowest first.
      legal_t: those of s_t.
    """

    s_tm1: np.ndarray
    a_tm1: np.ndarray
    r_t: np.ndarray
    discount_t: np.ndarray
    s_t: np.ndarray
    legal_tm1: np.ndarray
    legal_t: np.ndarray


def of_columns(columns: Sequence[np.ndarray]) -> Transitions | MaskedTransitions:
    """Returns the transitions of 5 columns, or of 7 with masks, in the order of the fields; also of tensors."""
    kind = Transitions if len(columns) == len(Transitions._fields) else MaskedTransitions
    return kind(*columns)


class Accumulator:
    """Makes one transition of each environment step, as soon as its chain of n rewards is complete.

    A chain is complete after n steps or at the end of the episode. Steps with an open chain wait for the next `add`.
    If `pending` is 0, a new Accumulator gives the same transitions from then on.
    """

    def __init__(self, n_step: int, discount: float, reward_clip: float = 0.0):
        """Makes an empty accumulator.

        Args:
          n_step: rewards summed before bootstrapping, at least 1.
          discount: gamma, in [0, 1].
          reward_clip: rewards are clipped to [-reward_clip, reward_clip] before they are summed; 0: no clipping.
        """
        self._n_step = n_step
        self._reward_clip = reward_clip
        self._powers = np.array([discount**k for k in range(n_step + 1)], np.float32)
        self._waiting = None  # Steps [P, N, ...], the last rows seen, P <= n - 1
        self._given = None  # <bool>[P, N], whose transitions were returned before

    def clear(self) -> None:
        """Forgets the steps that wait for the end of their chain."""
        self._waiting = self._given = None

    @property
    def waiting(self) -> np.ndarray:
        """Observations [P, N, *obs] of the steps that wait, or of whatever else stood in their place."""
        return np.empty(0, np.int64) if self._waiting is None else self._waiting.observation

    @property
    def pending(self) -> int:
        """Number of steps that wait for the end of their chain."""
        return 0 if self._given is None else int(np.count_nonzero(~self._given))

    def add(self, steps: Steps) -> Transitions:
        """Returns the transitions whose chains these steps complete.

        r_t = sum_{j<k} discount^j * reward_{t+j};  discount_t = discount^k * (not terminated);  k is n, or less if the
        episode ended. Rewards are summed in order of time in float32, so the values do not depend on how the steps are
        split over calls.

        Args:
          steps: [T, N, ...] that follow those of the last call, T >= 0. They are copied, not kept.
        Returns:
          Transitions of leading shape [M], in order of source time, then environment. Over all calls each
          environment's transitions come in order of time.
        """
        if self._reward_clip:
            steps = steps._replace(reward=np.clip(steps.reward, -self._reward_clip, self._reward_clip))
        if steps.legal is not None:
            steps = steps._replace(legal=_bits(steps.legal), next_legal=_bits(steps.next_legal))
        if self._given is None:
            self._waiting = steps._make(column[:0] for column in steps)
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
        last = time + length[is_new] - 1  # never a waiting row: chains that end there were complete before
        transitions = Transitions(
            s_tm1=self._select(self._waiting.observation, steps.observation, is_new),
            a_tm1=self._select(self._waiting.action, steps.action, is_new),
            r_t=r_t[is_new],
            discount_t=np.where(terminated[last, environment], np.float32(0), self._powers[length[is_new]]),
            s_t=steps.next_observation[last - num_waiting, environment],
        )
        if steps.legal is not None:
            transitions = MaskedTransitions(
                *transitions,
                legal_tm1=self._select(self._waiting.legal, steps.legal, is_new),
                legal_t=steps.next_legal[last - num_waiting, environment],
            )
        self._given = _last(given[:0], given | is_new, self._n_step - 1)
        self._waiting = steps._make(_last(*rows, self._n_step - 1) for rows in zip(self._waiting, steps, strict=True))
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
        """Returns [M, ...], what mask <bool>[P + T, N] selects of waiting [P, N, ...] and new [T, N, ...]."""
        return np.concatenate((waiting[mask[: len(waiting)]], new[mask[len(waiting) :]]))


def _bits(mask):
    """Returns masks <bool>[..., A] as bits <uint8>[..., ceil(A / 8)]."""
    return np.packbits(mask, axis=-1, bitorder="little")


def _last(waiting, new, num_rows):
    """Returns a copy of the last num_rows rows, or all there are, of waiting followed by new."""
    num_new = min(len(new), num_rows)
    num_waiting = min(len(waiting), num_rows - num_new)
    return np.concatenate((waiting[len(waiting) - num_waiting :], new[len(new) - num_new :]))
