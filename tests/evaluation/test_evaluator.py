"""Episodes, greedy or nearly so, against environments that write down what they paid."""

import dataclasses

import numpy as np
import pytest
from gymnasium import spaces

from dqn_tf.config import schema, seeding, settings
from dqn_tf.environment import spec, vector
from dqn_tf.evaluation import evaluator
from dqn_tf.persistence import identity
from tests import environments, making


class Greedy:
    """Q-values by a function of the observations; `seen` counts the rows that were asked for."""

    def __init__(self, values):
        self._values, self.seen = values, 0

    def load(self, weights):
        raise AssertionError("an evaluator evaluates the policy as it is")

    def values(self, observation):
        self.seen += len(observation)
        return np.asarray(self._values(observation), np.float32)


FIRST = Greedy(lambda observation: [[1.0, 0.0]] * len(observation))
SECOND = Greedy(lambda observation: [[0.0, 1.0]] * len(observation))
BY_SIGN = Greedy(lambda observation: np.stack([observation[:, 0], -observation[:, 0]], axis=-1))


def evaluate(policy, seed=0, num_episodes=10, max_episode_steps=100, env_id="Tape-v0", epsilon=0.0):
    made = evaluator.Evaluator(factory_of(env_id), num_episodes, max_episode_steps, epsilon)
    returns = made.evaluate(policy, seed)
    made.close()
    return returns


def factory_of(env_id):
    return making.environments(f"tests.environments:{env_id}")


@pytest.fixture
def played(monkeypatch):
    """Returns the list in which environments write down their episodes: [seed, return, steps, has ended].

    Those that begin when one has ended early get no seed here, to tell them from those that are asked for.
    """
    integer = seeding.integer
    monkeypatch.setattr(seeding, "integer", lambda *keys: integer(*keys) if keys[-1] == 0 else None)
    monkeypatch.setattr(environments.Tape, "played", [])
    return environments.Tape.played


def first_episodes(played):
    """Returns the episodes that were asked for."""
    return [episode for episode in played if episode[0] is not None]


@pytest.mark.parametrize("num_episodes", [1, 10, 25, 26, 30, 50, 57])
def test_returns_are_those_of_each_environments_first_episode_in_order(played, num_episodes):
    returns = evaluate(BY_SIGN, num_episodes=num_episodes)
    episodes = first_episodes(played)[:num_episodes]
    assert (returns.shape, returns.dtype) == ((num_episodes,), np.float64)
    assert list(returns) == [episode[1] for episode in episodes]
    assert all(has_ended for _, _, _, has_ended in episodes)


@pytest.mark.parametrize("policy, bonus", [(FIRST, 0.0), (SECOND, 10.0)])
def test_returns_are_of_the_greedy_action(played, policy, bonus):
    returns = evaluate(policy)
    lengths = [steps for _, _, steps, _ in first_episodes(played)]
    # Step t pays t / 4, and 10 for the second action.
    assert list(returns) == [sum(bonus + t / 4 for t in range(1, length + 1)) for length in lengths]
    assert {3, 7} & set(lengths) and len(set(lengths)) > 1


def test_returns_of_an_episode_that_is_cut_are_those_so_far(played):
    assert list(evaluate(SECOND, num_episodes=3, max_episode_steps=2)) == [10.25 + 10.5] * 3
    assert list(evaluate(FIRST, num_episodes=3, max_episode_steps=7, env_id="Endless-v0")) == [7.0] * 3


def test_evaluation_stops_once_every_episode_has_ended(played):
    policy = Greedy(lambda observation: [[1.0, 0.0]] * len(observation))
    evaluate(policy, num_episodes=4)
    assert policy.seen == 4 * max(steps for _, _, steps, _ in first_episodes(played))


def test_episodes_have_seeds_of_their_own(played):
    evaluate(FIRST, num_episodes=57)
    seeds = [seed for seed, *_ in first_episodes(played)]
    assert len(seeds) == 75 and len(set(seeds)) == 75  # three groups of 25
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_evaluation_of_the_same_seed_is_the_same(played):
    made = evaluator.Evaluator(factory_of("Tape-v0"), 30, 100)
    first, again = made.evaluate(BY_SIGN, 4), made.evaluate(BY_SIGN, 4)
    made.close()
    assert list(first) == list(again) == list(evaluate(BY_SIGN, seed=4, num_episodes=30))


def test_evaluation_of_another_seed_is_another(played):
    assert list(evaluate(BY_SIGN, seed=4)) != list(evaluate(BY_SIGN, seed=5))


@pytest.mark.parametrize("epsilon", [0.0, 0.5])
def test_returns_do_not_depend_on_how_many_episodes_are_played_or_at_a_time(monkeypatch, epsilon):
    returns = list(evaluate(BY_SIGN, num_episodes=57, epsilon=epsilon))
    assert list(evaluate(BY_SIGN, num_episodes=3, epsilon=epsilon)) == returns[:3]
    for num_envs in (1, 7):
        monkeypatch.setattr(evaluator, "MAX_NUM_ENVS", num_envs)
        assert list(evaluate(BY_SIGN, num_episodes=30, epsilon=epsilon)) == returns[:30]


@pytest.mark.parametrize(
    "own, asked, final, during, period, expected",
    [
        (500, 0, 100, 20, 5000, 500),
        (500, 7, 100, 20, 5000, 7),
        (None, 7, 100, 20, 5000, 7),
        (None, 0, 100, 20, 0, 50_000 // 100),
        (None, 0, 100, 20, 5000, 50_000 // (10 * 20)),
        (None, 0, 1, 1, 0, 10_000),
        (None, 0, 60_000, 1, 0, 1),
    ],
)
def test_episode_limit_is_that_asked_for_or_the_own_one_or_lets_evaluation_play_no_more_than_training(
    own, asked, final, during, period, expected, caplog
):
    asked_for = schema.Evaluation(
        eval_max_episode_steps=asked, final_eval_episodes=final, eval_episodes=during, eval_period=period
    )
    made = dataclasses.replace(factory_of("Endless-v0").describe(), max_episode_steps=own)
    assert evaluator.episode_limit(schema.Config(evaluation=asked_for), made) == expected
    is_told = f"has no time limit, so episodes are cut after {expected} env steps" in caplog.text
    assert is_told == (own is None and not asked)


def test_limit_of_a_run_stays_when_the_run_becomes_longer():
    endless = factory_of("Endless-v0").describe()
    first = evaluator.settle_limit(schema.Config(), endless, {})
    assert first.evaluation.eval_max_episode_steps == evaluator.episode_limit(schema.Config(), endless)
    longer = dataclasses.replace(schema.Config(), training=schema.Training(train_env_steps=500_000))
    assert identity.differences(settings.to_json(first), settings.to_json(longer)) == []
    again = evaluator.settle_limit(longer, endless, settings.to_json(first))
    assert again.evaluation == first.evaluation
    with_limit = dataclasses.replace(endless, max_episode_steps=9)
    assert evaluator.settle_limit(longer, with_limit, {}) == longer


def second_actions(played):
    """Returns how many of the steps of each first episode took the second action, which pays 10 more."""
    return [int(episode_return // 10) for _, episode_return, _, _ in first_episodes(played)]


def test_evaluation_with_epsilon_0_is_greedy(played):
    assert list(evaluate(SECOND, epsilon=0.0)) == list(evaluate(SECOND))
    lengths = [steps for _, _, steps, _ in first_episodes(played)]
    assert second_actions(played) == lengths


def test_evaluation_with_epsilon_1_is_random_whatever_the_policy(played):
    assert list(evaluate(FIRST, num_episodes=100, epsilon=1.0)) == list(evaluate(SECOND, num_episodes=100, epsilon=1.0))
    steps = sum(steps for _, _, steps, _ in first_episodes(played)[:100])
    taken = sum(second_actions(played)[:100])
    # Some 500 steps, one half each: the standard deviation of the share is 0.5 / sqrt(500) = 0.022.
    assert abs(taken / steps - 0.5) < 4 * 0.022


def test_evaluation_with_epsilon_between_explores_in_that_share_of_steps(played):
    evaluate(FIRST, num_episodes=200, epsilon=0.2)
    steps = sum(steps for _, _, steps, _ in first_episodes(played))
    # A step explores with probability 0.2 and takes the second action in half of these; of some 1000 steps.
    assert abs(sum(second_actions(played)) / steps - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 1000)


def test_evaluation_with_epsilon_is_a_function_of_the_seed(played):
    made = evaluator.Evaluator(factory_of("Tape-v0"), 30, 100, 0.5)
    first, again, other = (made.evaluate(BY_SIGN, seed) for seed in (4, 4, 5))
    made.close()
    assert list(first) == list(again) == list(evaluate(BY_SIGN, seed=4, num_episodes=30, epsilon=0.5))
    assert list(first) != list(other)
    assert list(first) != list(evaluate(BY_SIGN, seed=4, num_episodes=30))


class Lives:
    """Stands for a Factory, and is the Environment it makes: a life is lost every 2 steps, the game ends at step 5."""

    legal = None

    def __init__(self):
        self.spec = spec.EnvironmentSpec("Lives", None, (1,), np.dtype(np.float32), spaces.Discrete(2), None, None)

    def make(self, num_envs):
        self.num_envs = num_envs
        return self

    def reset(self, seeds):
        self._step = 0
        return np.zeros((self.num_envs, 1), np.float32)

    def step(self, action):
        self._step += 1
        everywhere, observation = np.ones(self.num_envs, bool), np.zeros((self.num_envs, 1), np.float32)
        ended = everywhere & (self._step == 5)
        lost = everywhere & (self._step % 2 == 0)
        reward = np.full(self.num_envs, 10.0**self._step, np.float32)
        return spec.Step(observation, reward, lost | ended, ~everywhere, ended, observation, action)

    def close(self):
        pass


def test_evaluation_counts_a_game_to_its_end_over_lost_lives():
    made = evaluator.Evaluator(Lives(), 3, 100)
    assert list(made.evaluate(FIRST, 0)) == [111_110.0] * 3


class Few:
    """Stands for a Factory of Tape that has so many at the same time; `made` counts those it made at each time."""

    def __init__(self, num):
        self._num, self.made = num, []

    def make(self, num_envs):
        if num_envs > self._num:
            raise spec.EnvironmentFailure("the port is in use")
        self.made.append(num_envs)
        return factory_of("Tape-v0").make(num_envs)


def test_evaluation_where_there_can_be_no_second_environment_plays_in_one_and_says_why(caplog):
    few = Few(1)
    made = evaluator.Evaluator(few, 9, 100, 0.5)
    first, again = made.evaluate(BY_SIGN, 4), made.evaluate(BY_SIGN, 4)
    made.close()
    assert list(first) == list(again) == list(evaluate(BY_SIGN, seed=4, num_episodes=9, epsilon=0.5))
    assert few.made == [1]
    assert [record.getMessage() for record in caplog.records] == [
        "evaluation: in one environment instead of 9, because the port is in use"
    ]


@pytest.mark.parametrize("num_episodes", [1, 9])
def test_evaluation_where_there_is_no_environment_raises_what_it_says(num_episodes):
    made = evaluator.Evaluator(Few(0), num_episodes, 100)
    with pytest.raises(spec.EnvironmentFailure, match="^the port is in use$"):
        made.evaluate(FIRST, 0)
    made.close()


def test_environments_are_made_by_the_first_evaluation():
    few = Few(5)
    made = evaluator.Evaluator(few, 5, 9)
    assert (few.made, made.max_episode_steps) == ([], 9)
    made.evaluate(FIRST, 0)
    made.evaluate(FIRST, 1)
    assert (few.made, made.max_episode_steps) == ([5], 9)
    made.close()
    made.close()  # a second time changes nothing
    made.evaluate(FIRST, 0)
    assert few.made == [5, 5]
    made.close()


@pytest.mark.parametrize("error", [spec.EnvironmentFailure("bent"), spec.EnvironmentLost("killed")])
def test_evaluation_after_one_in_which_an_environment_failed_makes_new_ones(monkeypatch, error):
    few = Few(5)
    made = evaluator.Evaluator(few, 5, 100)
    with monkeypatch.context() as patch:
        patch.setattr(vector.VectorEnvironment, "step", lambda *arguments: (_ for _ in ()).throw(error))
        with pytest.raises(type(error)):
            made.evaluate(FIRST, 0)
    assert list(made.evaluate(FIRST, 4)) == list(evaluate(FIRST, seed=4, num_episodes=5))
    assert few.made == [5, 5]
    made.close()


def test_evaluation_that_is_left_by_its_check_begins_anew():
    few, calls = Few(5), iter(range(3))
    made = evaluator.Evaluator(few, 5, 100)
    with pytest.raises(StopIteration):
        made.evaluate(FIRST, 4, lambda: next(calls))
    assert list(made.evaluate(FIRST, 4)) == list(evaluate(FIRST, seed=4, num_episodes=5))
    assert few.made == [5]
    made.close()


@pytest.mark.parametrize("epsilon", [0.0, 0.5])
def test_evaluation_under_masks_takes_legal_actions_only(epsilon):
    factory = dataclasses.replace(factory_of("Mines-v0"), spec=factory_of("Mines-v0").describe())
    by_number = Greedy(lambda observation: observation[:, :1] * np.float32([9, 8, 7, 3, 2, 1]))
    made = evaluator.Evaluator(factory, 60, 100, epsilon)
    assert list(made.evaluate(by_number, 0)) == [5.0] * 60  # a step on a mine raises
    made.close()
