"""Greedy episodes in environments of their own."""

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dqn_tf.agent import policies
from dqn_tf.agent.policies import Policy
from dqn_tf.config import seeding
from dqn_tf.config.schema import Config
from dqn_tf.config.seeding import Stream
from dqn_tf.environment.factory import Factory
from dqn_tf.environment.spec import EnvironmentFailure, EnvironmentLost, EnvironmentSpec

_log = logging.getLogger(__name__)

MAX_NUM_ENVS = 25
_MAX_EPISODE_STEPS = 10_000  # a greedy policy that is stuck would otherwise never end


def settle_limit(config: Config, spec: EnvironmentSpec, stored: Mapping[str, Any]) -> Config:
    """Returns the settings with the limit of evaluated episodes in them, where the environment has none of its own.

    Returns of episodes of different lengths cannot be compared, so it stays the same, however long the run becomes.

    Args:
      stored: settings in the checkpoint that the run resumes from, by section and name; empty if there is none.
    """
    asked = config.evaluation.eval_max_episode_steps or stored.get("evaluation", {}).get("eval_max_episode_steps", 0)
    if not asked and spec.max_episode_steps:
        return config
    limit = asked or episode_limit(config, spec)
    return dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, eval_max_episode_steps=limit))


def episode_limit(config: Config, spec: EnvironmentSpec) -> int:
    """Returns how many env steps of an episode are evaluated: what is asked for, else the environment's own limit.

    If there is neither, so few that neither the final evaluation nor those during the training together play more
    env steps than the training; a warning says so.
    """
    evaluation, train_env_steps = config.evaluation, config.training.train_env_steps
    limit = evaluation.eval_max_episode_steps or spec.max_episode_steps
    if limit:
        return limit
    periods = train_env_steps // evaluation.eval_period if evaluation.eval_period else 1
    num_episodes = max(evaluation.final_eval_episodes, periods * evaluation.eval_episodes)
    limit = min(max(train_env_steps // num_episodes, 1), _MAX_EPISODE_STEPS)
    _log.warning(
        "evaluation: --env=%s has no time limit, so episodes are cut after %d env steps, for evaluation to take no "
        "longer than training; --eval_max_episode_steps gives them others",
        spec.env_id,
        limit,
    )
    return limit


class Evaluator:
    """Runs greedy, or nearly greedy, episodes, many environments at once.

    Attributes:
      max_episode_steps: longer episodes are cut here.
    """

    def __init__(self, environments: Factory, num_episodes: int, max_episode_steps: int, epsilon: float = 0.0):
        """Prepares; the environments are made by the first `evaluate`, min(num_episodes, 25) of them.

        Args:
          max_episode_steps: longer episodes are cut here, their return so far counts.
          epsilon: probability of a random action; 0: greedy.
        """
        self._environments = environments
        self._num_episodes = num_episodes
        self._epsilon = epsilon
        self._environment = None
        self.max_episode_steps = max_episode_steps

    def evaluate(self, policy: Policy, seed: int, check: Callable[[], None] = lambda: None) -> np.ndarray:
        """Returns <float64>[num_episodes] undiscounted returns; a function of the policy and `seed`.

        Each episode has a seed of its own, so none depends on how many are played at a time; and all that are begun
        count, for else those that end first, the short ones, would be too many.

        Args:
          check: called before every step; it may raise, to leave an evaluation.
        Raises:
          EnvironmentFailure, EnvironmentLost: an environment has failed; the next call makes them anew.
        """
        try:
            observation, returns = None, []
            if self._environment is None:
                observation = self._begin(seed)
            for first in range(0, self._num_episodes, self._environment.num_envs):
                returns.append(self._one_episode_each(policy, (seed, first), observation, check))
                observation = None
            return np.concatenate(returns)[: self._num_episodes]
        except (EnvironmentFailure, EnvironmentLost):
            self.close()
            raise

    def _begin(self, seed):
        """Makes as many environments as are wanted, or one if there can be no second; begins their first episodes.

        Returns what these show, [N, *obs].
        """
        num_envs = min(self._num_episodes, MAX_NUM_ENVS)
        try:
            self._environment = self._environments.make(num_envs)
            return self._reset(seed, 0)
        except EnvironmentFailure as failure:
            if num_envs == 1:
                raise
            _log.warning("evaluation: in one environment instead of %d, because %s", num_envs, failure)
        self.close()
        self._environment = self._environments.make(1)
        return self._reset(seed, 0)

    def _reset(self, seed, first):
        numbers = range(first, first + self._environment.num_envs)
        # A function of a module without TensorFlow, which a process of an environment would import.
        of = functools.partial(seeding.integer, seed, Stream.ENVIRONMENT)
        return self._environment.reset([functools.partial(of, number) for number in numbers])

    def _one_episode_each(self, policy, key, observation, check):
        """Returns <float64>[N], the returns of as many episodes.

        Args:
          key: the seed and the number of the first.
          observation: [N, *obs] what they show, where they have begun; else None.
        """
        environment, (seed, first) = self._environment, key
        if observation is None:
            observation = self._reset(seed, first)
        num_envs = environment.num_envs
        sequences = [np.random.SeedSequence((seed, first + i)) for i in range(num_envs)]
        generators = [np.random.default_rng(sequence) for sequence in sequences] if self._epsilon else []
        returns, running, legal = np.zeros(num_envs), np.ones(num_envs, bool), environment.legal
        for _ in range(self.max_episode_steps):
            check()
            step = environment.step(policies.nearly_greedy(policy, observation, self._epsilon, generators, legal))
            returns += np.where(running, step.reward, 0.0)
            running &= ~step.ended
            observation, legal = step.observation, step.legal
            if not running.any():
                break
        return returns

    def close(self) -> None:
        """Ends the environments, if there are any; a later `evaluate` makes new ones."""
        if self._environment is not None:
            self._environment.close()
        self._environment = None
