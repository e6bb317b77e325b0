"""The actor: epsilon-greedy steps in the environments with a snapshot of the weights.

Every environment has its own generator, so what it explores depends on the seed and its number in the run, not
on which worker runs it or how many share the run.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dqn_tf.agent.policies import Policy
from dqn_tf.environment.spec import Environment
from dqn_tf.experience.accumulator import Steps

_REPLAYED_STEPS = 100


class Episodes(NamedTuple):
    """Episodes that ended in a round, in order of time, then environment.

    Attributes:
      vector_step: <int64>[E] the step of the round, from 0, with which each ended.
      episode_return: <float64>[E] sums of undiscounted rewards.
      length: <int64>[E] env steps.
    """

    vector_step: np.ndarray
    episode_return: np.ndarray
    length: np.ndarray


def linear_epsilon(env_steps: int, initial: float, final: float, decay_env_steps: int) -> float:
    """Returns the exploration probability after `env_steps` of the run."""
    if env_steps >= decay_env_steps:
        return final
    return initial + (final - initial) * env_steps / decay_env_steps


class Actor:
    """Collects rounds of experience, and counts episodes.

    Attributes:
      generators: one for each environment's exploration.
      actions: list of <int32>[T, N], those of every step since `restart`: environments cannot be saved, but they can
        be played again.
    """

    def __init__(
        self,
        environment: Environment,
        policy: Policy,
        num_actions: int,
        seeds: Sequence[int],
        generators: Sequence[np.random.Generator],
    ):
        """Resets the environments.

        Args:
          seeds: one for each environment's own randomness.
          generators: one for each environment's exploration.
        """
        self._environment = environment
        self._policy = policy
        self._num_actions = num_actions
        self.generators = generators
        self.restart(seeds)

    def restart(self, seeds: Sequence[int]) -> None:
        """Leaves all episodes as they are and begins new ones, from new seeds."""
        self._observation = self._environment.reset(seeds)
        self._return = np.zeros(len(seeds))
        self._length = np.zeros(len(seeds), np.int64)
        self.actions: list[np.ndarray] = []

    def collect(self, weights: Sequence[np.ndarray], epsilons: Sequence[float]) -> tuple[Steps, Episodes]:
        """Returns one round, [T, N, ...], and the episodes that ended in it.

        Args:
          weights: the snapshot to act with.
          epsilons: the exploration probability of each of the T steps.
        """
        self._policy.load(weights)
        num_steps = len(epsilons)
        explores = np.stack([g.random(num_steps) for g in self.generators], axis=1) < np.reshape(epsilons, [-1, 1])
        random_action = np.stack(
            [g.integers(self._num_actions, size=num_steps, dtype=np.int32) for g in self.generators], axis=1
        )  # [T, N]
        actions, rows, episodes = [], [], []
        for t in range(num_steps):
            action = random_action[t]
            if not explores[t].all():
                greedy = self._policy.values(self._observation).argmax(axis=-1)
                action = np.where(explores[t], action, greedy).astype(np.int32)
            actions.append(action)
            rows.append(self._step(t, action, episodes))
        self.actions.append(np.stack(actions))
        ends = np.array(episodes).reshape(-1, 3)
        return _stacked(rows), Episodes(ends[:, 0].astype(np.int64), ends[:, 1], ends[:, 2].astype(np.int64))

    def replay(self, actions: np.ndarray) -> Iterator[Steps]:
        """Plays `actions` <int32>[T, N] again after a `restart`, as steps [t, N, ...] for a while at a time."""
        for start in range(0, len(actions), _REPLAYED_STEPS):
            part = np.array(actions[start : start + _REPLAYED_STEPS])
            self.actions.append(part)
            yield _stacked([self._step(0, action, []) for action in part])

    def observation_digests(self) -> np.ndarray:
        """Returns <uint8>[N, 32], the SHA-256 of what each environment shows now."""
        digests = [hashlib.sha256(one.tobytes()).digest() for one in self._observation]
        return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)

    def _step(self, t, action, episodes):
        """Returns the row of Steps that `action` leads to, and adds the episodes that it ends."""
        observation = self._observation
        step = self._environment.step(action)
        self._observation = step.observation
        self._count(t, step, episodes)
        return observation, step.action, step.reward, step.terminated, step.truncated, step.next_observation

    def _count(self, t, step, episodes):
        self._return += step.reward
        self._length += 1
        if step.ended.any():
            for i in np.flatnonzero(step.ended):
                episodes.append((t, self._return[i], self._length[i]))
            self._return[step.ended] = 0.0
            self._length[step.ended] = 0


def _stacked(rows):
    return Steps(*(np.stack(column) for column in zip(*rows, strict=True)))
