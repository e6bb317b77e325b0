"""Greedy episodes in environments of their own."""

from collections.abc import Callable

import numpy as np

from dqn_tf.agent import policies
from dqn_tf.agent.policies import Policy
from dqn_tf.environment.factory import Factory

MAX_NUM_ENVS = 25
_MAX_EPISODE_STEPS = 10_000  # a greedy policy that is stuck would otherwise never end


class Evaluator:
    """Runs greedy, or nearly greedy, episodes, many environments at once.

    Attributes:
      max_episode_steps: longer episodes are cut here.
    """

    def __init__(self, environments: Factory, num_episodes: int, max_episode_steps: int, epsilon: float = 0.0):
        """Creates min(num_episodes, 25) environments.

        Args:
          max_episode_steps: longer episodes are cut here, their return so far counts; 0 stands for the environment's
            own limit, or 10,000 where it has none.
          epsilon: probability of a random action; 0: greedy.
        """
        self._num_episodes = num_episodes
        self._num_envs = min(num_episodes, MAX_NUM_ENVS)
        self._epsilon = epsilon
        self._environment = environments.make(self._num_envs)
        own_limit = self._environment.spec.max_episode_steps
        self.max_episode_steps = max_episode_steps or own_limit or _MAX_EPISODE_STEPS

    def evaluate(self, policy: Policy, seed: int, check: Callable[[], None] = lambda: None) -> np.ndarray:
        """Returns <float64>[num_episodes] undiscounted returns; a function of the policy and `seed`.

        The first environments to end do not get more episodes than the others: that would favour short episodes.

        Args:
          check: called before every step; it may raise, to leave an evaluation.
        """
        returns = np.empty(0)
        num_groups = -(-self._num_episodes // self._num_envs)
        for group in range(num_groups):
            seeds = np.random.SeedSequence((seed, group)).generate_state(self._num_envs)
            generator = np.random.default_rng((seed, group))
            seeds = [int(one) // 2 for one in seeds]
            returns = np.concatenate([returns, self._one_episode_each(policy, seeds, generator, check)])
        return returns[: self._num_episodes]

    def _one_episode_each(self, policy, seeds, generator, check):
        observation = self._environment.reset(seeds)
        returns, running = np.zeros(self._num_envs), np.ones(self._num_envs, bool)
        for _ in range(self.max_episode_steps):
            check()
            step = self._environment.step(policies.nearly_greedy(policy, observation, self._epsilon, generator))
            returns += np.where(running, step.reward, 0.0)
            running &= ~step.ended
            observation = step.observation
            if not running.any():
                break
        return returns

    def close(self) -> None:
        self._environment.close()
