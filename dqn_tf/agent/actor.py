"""The actor: steps in the environments with a snapshot of the weights, exploring.

Every environment has its own generator, so what it explores depends on the seed and its number in the run, not
on which worker runs it or how many share the run.

Environments cannot be saved. But an episode is a function of its seed and of the actions in it: with these it can be
played again.
"""

import collections
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dqn_tf.agent import choice
from dqn_tf.agent.exploration import Explored
from dqn_tf.agent.policies import Policy
from dqn_tf.environment.spec import Environment, EpisodeSeeds
from dqn_tf.experience.accumulator import MaskedSteps, Steps

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


class Unfinished(NamedTuple):
    """The episodes under way in N environments: all that it takes to play them again and to resume.

    Attributes:
      episode: <int64>[N] their numbers, from 0 in each environment.
      length: <int64>[N] env steps so far.
      action: <int32>[sum of length] what was done since each began, environment by environment.
      checksum: <uint32>[N] CRC-32 of all that each has shown and paid since.
      exploration: states of the N generators.
    """

    episode: np.ndarray
    length: np.ndarray
    action: np.ndarray
    checksum: np.ndarray
    exploration: Sequence[Mapping[str, Any]]


class Actor:
    """Collects rounds of experience, and counts episodes.

    Attributes:
      noted: the last observations, as they were noted.
    """

    def __init__(
        self,
        environment: Environment,
        policy: Policy,
        num_actions: int,
        seeds: Sequence[EpisodeSeeds],
        generators: Sequence[np.random.Generator],
        noted: Callable[[np.ndarray], np.ndarray] = lambda observations: observations,
    ):
        """Prepares; `restart` or `replay` begins.

        Args:
          seeds: of the episodes of each environment.
          generators: one for each environment's exploration.
          noted: makes what Steps have in place of observations, see Replay.noted.
        """
        self._environment = environment
        self._policy = policy
        self._num_actions = num_actions
        self._seeds = seeds
        self._generators = generators
        self._note = noted
        self._num_envs = len(seeds)
        self._held: Unfinished | None = None

    def restart(self, episodes: Sequence[int]) -> None:
        """Leaves all episodes as they are and begins those of these numbers."""
        self._episode = np.array(episodes, np.int64)
        self._observation = self._environment.reset(self._seeds, episodes)
        self._legal, self.noted = self._environment.legal, self._note(self._observation)
        self._return = np.zeros(self._num_envs)
        self._length = np.zeros(self._num_envs, np.int64)
        self._checksum = [self._shown(i, 0) for i in range(self._num_envs)]
        # Each <int32>[T, N]; together they are so many rows, at least all of the episodes under way.
        self._actions, self._num_rows = collections.deque(), 0
        self._keep()

    def collect(self, weights: Sequence[np.ndarray], explored: Explored) -> tuple[Steps, Episodes]:
        """Returns one round, [T, N, ...], and the episodes that ended in it.

        Args:
          weights: the snapshot to act with.
          explored: how, in each of the T steps.
        """
        self._policy.load(weights)
        epsilon, temperature, noise_seed = explored
        num_steps = len(epsilon)
        explores = np.stack([g.random(num_steps) for g in self._generators], axis=1) < epsilon
        drawn = np.stack([self._draw(g, num_steps) for g in self._generators], axis=1)  # [T, N]
        if temperature:  # the largest of the sums is a draw from softmax(values / temperature), arXiv:1411.0030
            shape = num_steps, self._num_actions
            gumbel = np.stack([g.gumbel(size=shape) for g in self._generators], axis=1)  # [T, N, A]
        actions, rows, episodes = [], [], []
        for t in range(num_steps):
            action = drawn[t] if self._legal is None else choice.uniform(self._legal, drawn[t])
            if not explores[t].all():
                values = self._policy.values(self._observation, *([] if noise_seed is None else [noise_seed[t]]))
                if temperature:
                    values = values / temperature + gumbel[t]
                greedy = choice.greedy(values, self._legal)
                action = np.where(explores[t], action, greedy).astype(np.int32)
            actions.append(action)
            before, step = (self.noted, self._legal), self._environment.step(action)
            self._count(t, step, episodes)
            rows.append(self._row(*before, step))
        self._round = np.stack(actions)
        ends = np.array(episodes).reshape(-1, 3)
        return _stacked(rows), Episodes(ends[:, 0].astype(np.int64), ends[:, 1], ends[:, 2].astype(np.int64))

    def keep(self) -> None:
        """Counts the round that was collected, once all workers have ended it: `unfinished` is that of its end."""
        self._actions.append(self._round)
        self._num_rows += len(self._round)
        self._keep()

    def unfinished(self) -> Unfinished:
        """Returns the episodes under way at the end of the last round that was kept."""
        if self._held:
            return self._held
        episode, length, checksum, exploration = self._kept
        rows = np.concatenate(self._actions) if self._actions else np.empty((0, self._num_envs), np.int32)
        action = np.concatenate([rows[len(rows) - count :, i] for i, count in enumerate(length)])
        return Unfinished(episode, length, action, checksum, exploration)

    def hold(self, episodes: Unfinished) -> None:
        """Takes episodes over that nobody will continue, without playing them."""
        self._held = episodes

    def replay(self, episodes: Unfinished) -> Iterator[Steps]:
        """Plays episodes again, those of all environments so that they arrive at the same time.

        Yields:
          Steps [t, N, ...] for a while at a time; those of an environment whose episode has not begun are `truncated`.
        """
        for generator, state in zip(self._generators, episodes.exploration, strict=True):
            generator.bit_generator.state = state
        self.restart(episodes.episode)
        actions = np.split(episodes.action, np.cumsum(episodes.length)[:-1])
        rows = []
        for playing, step in self._environment.replay(actions):
            step = step._replace(
                reward=np.where(playing, step.reward, np.float32(0)),
                truncated=step.truncated | ~playing,
                ended=step.ended & playing,
            )
            before = self.noted, self._legal
            self._count(0, step, [], playing)
            rows.append(self._row(*before, step))
            if len(rows) == _REPLAYED_STEPS:
                yield _stacked(rows)
                rows = []
        if rows:
            yield _stacked(rows)
        longest = int(episodes.length.max())
        self._actions.append(np.stack([np.pad(one, (longest - len(one), 0)) for one in actions], axis=1))
        self._num_rows = longest
        self._keep()

    def close(self) -> None:
        """Ends the environments; what they have come to stays."""
        self._environment.close()

    def _draw(self, generator, num_steps):
        """Returns random actions <int32>[T]; under masks fractions <float64>[T], to choose among legal ones."""
        if self._legal is not None:
            return generator.random(num_steps)
        return generator.integers(self._num_actions, size=num_steps, dtype=np.int32)

    def _shown(self, i, before):
        """Returns the checksum `before` of environment i with what it shows now."""
        checksum = zlib.crc32(self._observation[i], before)
        return checksum if self._legal is None else zlib.crc32(self._legal[i], checksum)

    def _row(self, noted, legal, step):
        """Returns the row of Steps that a step is, from observations that were `noted`, and notes those after it."""
        last = self._note(step.next_observation) if step.ended.any() else None
        self.noted = self._note(step.observation)
        row = noted, step.action, step.reward, step.terminated, step.truncated, self.noted if last is None else last
        return row if legal is None else (*row, legal, step.next_legal)

    def _keep(self):
        """Notes where the environments stand at the end of a round."""
        longest = int(self._length.max())
        while self._actions and self._num_rows - len(self._actions[0]) >= longest:
            self._num_rows -= len(self._actions.popleft())
        exploration = [generator.bit_generator.state for generator in self._generators]
        self._kept = self._episode.copy(), self._length.copy(), np.array(self._checksum, np.uint32), exploration

    def _count(self, t, step, episodes, playing=True):
        """Counts a step of those that are `playing`, and adds the episodes that it ends."""
        self._observation, self._legal = step.observation, step.legal
        self._return += step.reward
        self._length += playing
        paid = step.reward.tobytes()
        for i in np.flatnonzero(playing) if playing is not True else range(self._num_envs):
            before = 0 if step.ended[i] else zlib.crc32(paid[4 * i : 4 * i + 4], self._checksum[i])
            self._checksum[i] = self._shown(i, before)
        if step.ended.any():
            for i in np.flatnonzero(step.ended):
                episodes.append((t, self._return[i], self._length[i]))
            self._return[step.ended] = 0.0
            self._length[step.ended] = 0
            self._episode += step.ended


def _stacked(rows):
    columns = [np.stack(column) for column in zip(*rows, strict=True)]
    return Steps(*columns) if len(columns) == len(Steps._fields) else MaskedSteps(*columns)
