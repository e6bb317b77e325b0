"""The actor in scripted environments: what it does, what it returns, which episodes it counts."""

import numpy as np
import pytest

from dqn_tf.agent import actor, exploration
from dqn_tf.environment import maker, spec, vector
from dqn_tf.experience import accumulator
from tests.environment.scripted import seeds


class Script:
    """An Environment that plays rows [T, N] of rewards and ends, and records what it is told.

    The observation of environment n is (n, episode, step of the episode); actions change nothing. Episodes end where
    they are terminated or truncated, unless `ended` says otherwise. Where `pressed` is not -1 that action is carried
    out in place of the one given.
    """

    legal = None

    def __init__(self, reward, terminated=None, truncated=None, ended=None, pressed=None):
        self._reward = np.asarray(reward, np.float32)
        nothing = np.zeros(self._reward.shape, bool)
        self._terminated = nothing if terminated is None else np.asarray(terminated, bool)
        self._truncated = nothing if truncated is None else np.asarray(truncated, bool)
        self._ended = self._terminated | self._truncated if ended is None else np.asarray(ended, bool)
        self._pressed = np.full(self._reward.shape, -1) if pressed is None else np.asarray(pressed)
        self.actions, self.begun = [], None

    def reset(self, seeds, episodes):
        self.begun = [(seed, episode) for seed, episode in zip(seeds, episodes, strict=True)]
        self._episode, self._step = np.array(episodes), np.zeros(len(seeds), int)
        return self._observation()

    def step(self, action):
        t = len(self.actions)
        self.actions.append(action.copy())
        self._step += 1
        last, ended = self._observation(), self._ended[t]
        self._episode, self._step = self._episode + ended, np.where(ended, 0, self._step)
        first = self._observation() if ended.any() else last
        carried_out = np.where(self._pressed[t] < 0, action, self._pressed[t]).astype(np.int32)
        return spec.Step(last, self._reward[t], self._terminated[t], self._truncated[t], ended, first, carried_out)

    def _observation(self):
        return np.stack((np.arange(len(self._step)), self._episode, self._step), axis=-1).astype(np.float32)


class StepPolicy:
    """Greedy action (n + weight + step of the episode) modulo A, and a record of the calls."""

    def __init__(self, num_actions):
        self._num_actions = num_actions
        self.loaded, self.seen = [], []

    def load(self, weights):
        self.loaded.append(weights)

    def values(self, observation):
        self.seen.append(observation.copy())
        greedy = (observation[:, 0] + self.loaded[-1][0] + observation[:, 2]) % self._num_actions
        return np.eye(self._num_actions, dtype=np.float32)[greedy.astype(int)]


def generators(*seeds):
    return [np.random.default_rng(seed) for seed in seeds]


def make_actor(script, policy=None, num_actions=3):
    num_envs = script._reward.shape[1]
    policy = policy or StepPolicy(num_actions)
    made = actor.Actor(script, policy, num_actions, range(num_envs), generators(*range(num_envs)))
    made.restart([0] * num_envs)
    return made


def assert_episodes(episodes, *expected):
    """Compares with rows (vector_step, return, length)."""
    assert [column.dtype for column in episodes] == [np.int64, np.float64, np.int64]
    assert list(zip(*(column.tolist() for column in episodes), strict=True)) == list(expected)


def test_restart_begins_an_episode_of_each_environment_with_its_own_seeds():
    script = Script(np.zeros((1, 2)))
    made = actor.Actor(script, StepPolicy(3), 3, [11, 12], generators(0, 1))
    assert script.begun is None
    made.restart([0, 5])
    assert script.begun == [(11, 0), (12, 5)]


def test_restart_leaves_the_episodes_under_way_uncounted():
    acting = make_actor(Script([[1, 10], [2, 20], [4, 40]], terminated=[[0, 0], [0, 0], [1, 1]]))
    acting.collect([0], [0.0] * 2)
    acting.restart([3, 4])
    steps, episodes = played(acting, [0.0])
    assert_episodes(episodes, (0, 4, 1), (0, 40, 1))
    np.testing.assert_array_equal(steps.observation, [[(0, 3, 0), (1, 4, 0)]])
    assert acting.unfinished().episode.tolist() == [3 + 1, 4 + 1]


def test_collect_when_epsilon_is_0_acts_greedily_on_the_observation_of_each_step():
    script, policy = Script(np.zeros((4, 2)), truncated=[[0, 0], [0, 1], [0, 0], [0, 0]]), StepPolicy(3)
    steps, _ = make_actor(script, policy).collect([1], [0.0] * 4)
    expected = [
        [(0 + 1 + 0) % 3, (1 + 1 + 0) % 3],
        [(0 + 1 + 1) % 3, (1 + 1 + 1) % 3],
        [(0 + 1 + 2) % 3, (1 + 1 + 0) % 3],  # environment 1 is at step 0 again
        [(0 + 1 + 3) % 3, (1 + 1 + 1) % 3],
    ]
    np.testing.assert_array_equal(steps.action, expected)
    np.testing.assert_array_equal(script.actions, expected)
    np.testing.assert_array_equal(policy.seen, steps.observation)


def test_collect_loads_the_weights_of_the_round_once():
    policy = StepPolicy(3)
    acting = make_actor(Script(np.zeros((4, 1))), policy)
    first, _ = acting.collect([0], [0.0] * 2)
    second, _ = acting.collect([1], [0.0] * 2)
    assert policy.loaded == [[0], [1]]
    np.testing.assert_array_equal(first.action[:, 0], [0, 1])
    np.testing.assert_array_equal(second.action[:, 0], [(1 + 2) % 3, (1 + 3) % 3])


def test_collect_when_epsilon_is_1_asks_no_policy():
    policy = StepPolicy(3)
    make_actor(Script(np.zeros((5, 2))), policy).collect([0], [1.0] * 5)
    assert policy.seen == []


class ZeroPolicy(StepPolicy):
    """Greedy action 0, everywhere."""

    def values(self, observation):
        return np.tile(np.eye(self._num_actions, dtype=np.float32)[0], (len(observation), 1))


CRITICAL = {2: 13.82, 3: 16.27}  # chi-square of so many degrees of freedom is above in 0.1 % of seeds; these are fixed


def assert_uniform(actions, num_actions):
    counts = np.bincount(actions, minlength=num_actions)
    expected = len(actions) / num_actions
    assert len(counts) == num_actions
    assert np.sum((counts - expected) ** 2 / expected) < CRITICAL[num_actions - 1]


def test_collect_when_epsilon_is_1_acts_uniformly_in_every_environment():
    steps, _ = make_actor(Script(np.zeros((4000, 3))), num_actions=4).collect([0], [1.0] * 4000)
    for column in steps.action.T:
        assert_uniform(column, 4)


def test_collect_when_epsilon_is_between_explores_uniformly_in_that_share_of_steps():
    steps, _ = make_actor(Script(np.zeros((8000, 1))), ZeroPolicy(4), 4).collect([0], [0.25] * 8000)
    others = steps.action[steps.action > 0]
    # A step explores with probability 0.25 and then hits one of the 3 others of 4: p = 0.1875, and the standard
    # deviation of the count is sqrt(8000 * 0.1875 * 0.8125) = 35.
    assert abs(len(others) - 8000 * 0.1875) < 4 * 35
    assert_uniform(others - 1, 3)


def test_collect_when_epsilons_differ_uses_that_of_each_step():
    steps, _ = make_actor(Script(np.zeros((4, 100))), ZeroPolicy(2), 2).collect([0], [1.0, 0.0, 1.0, 0.0])
    assert [bool(row.any()) for row in steps.action] == [True, False, True, False]


def explored(numbers, own, num_rounds=2):
    """Returns what the environment whose generator has the seed `own` does beside those of the other seeds."""
    acting = actor.Actor(Script(np.zeros((60, len(numbers)))), ZeroPolicy(5), 5, numbers, generators(*numbers))
    acting.restart([0] * len(numbers))
    actions = [acting.collect([0], [0.5] * (60 // num_rounds))[0].action for _ in range(num_rounds)]
    return np.concatenate(actions)[:, numbers.index(own)]


@pytest.mark.parametrize("numbers", [[7, 3], [3, 7], [9, 7, 3, 8]])
def test_collect_when_there_are_other_environments_explores_the_same(numbers):
    alone = explored([7], 7)
    assert set(alone) == {0, 1, 2, 3, 4}
    np.testing.assert_array_equal(explored(numbers, 7), alone)


def test_collect_when_generators_differ_explores_differently():
    assert not np.array_equal(explored([7, 3], 3), explored([7, 3], 7))


def test_collect_when_called_again_goes_on_with_the_generators():
    first, second = np.split(explored([7], 7), 2)
    assert not np.array_equal(first, second)


def test_collect_when_episodes_end_counts_them_in_order_of_time_then_environment():
    script = Script(
        reward=[[1, 10, 100], [2, 20, 200], [3, 30, 300], [4, 40, 400]],
        terminated=[[0, 0, 0], [1, 0, 1], [0, 0, 0], [1, 0, 0]],
        truncated=[[0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 1, 0]],
    )
    _, episodes = make_actor(script).collect([0], [0.0] * 4)
    assert_episodes(
        episodes,
        (0, 10, 1),
        (1, 1 + 2, 2),
        (1, 100 + 200, 2),
        (3, 3 + 4, 2),
        (3, 20 + 30 + 40, 3),
    )


def test_collect_when_an_episode_goes_over_rounds_counts_it_where_it_ends():
    script = Script(
        reward=[[1, 10], [2, 20], [4, 40], [8, 80], [16, 160], [32, 320]],
        terminated=[[0, 0], [0, 1], [0, 0], [0, 0], [1, 0], [0, 1]],
    )
    acting = make_actor(script)
    rounds = [acting.collect([0], [0.0] * 2)[1] for _ in range(3)]
    assert_episodes(rounds[0], (1, 10 + 20, 2))
    assert_episodes(rounds[1])
    assert_episodes(rounds[2], (0, 1 + 2 + 4 + 8 + 16, 5), (1, 40 + 80 + 160 + 320, 4))


def test_collect_when_both_flags_are_set_counts_one_episode():
    _, episodes = make_actor(Script([[5]], terminated=[[1]], truncated=[[1]])).collect([0], [0.0])
    assert_episodes(episodes, (0, 5, 1))


def test_collect_when_a_life_is_lost_counts_the_episode_on_to_its_end():
    script = Script(
        reward=[[1, 10], [2, 20], [4, 40], [8, 80]],
        terminated=[[1, 0], [0, 0], [1, 1], [0, 0]],  # a life, then one of each: of environment 0 it is the last
        truncated=[[0, 0], [0, 0], [0, 0], [0, 1]],
        ended=[[0, 0], [0, 0], [1, 0], [0, 1]],
    )
    steps, episodes = make_actor(script).collect([0], [0.0] * 4)
    assert_episodes(episodes, (2, 1 + 2 + 4, 3), (3, 10 + 20 + 40 + 80, 4))
    np.testing.assert_array_equal(steps.terminated, [[1, 0], [0, 0], [1, 1], [0, 0]])  # learning is told all of them
    # (environment, episode, step of the episode): a lost life begins no new one.
    np.testing.assert_array_equal(steps.observation[:, 0], [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 0)])


def test_collect_when_rewards_are_clipped_for_learning_counts_them_raw():
    script = Script([[5], [-7], [0.5], [3]], terminated=[[0], [0], [0], [1]])
    steps, episodes = make_actor(script).collect([0], [0.0] * 4)
    batch = accumulator.Accumulator(2, 0.5, reward_clip=1.0).add(steps)
    assert_episodes(episodes, (3, 5 - 7 + 0.5 + 3, 4))
    np.testing.assert_array_equal(batch.r_t, [1 + 0.5 * -1, -1 + 0.5 * 0.5, 0.5 + 0.5 * 1, 1])


def test_collect_when_another_action_is_carried_out_keeps_that():
    # FIRE is 1 here; the policy's actions are (n + step of the episode) modulo 3.
    script = Script(np.zeros((3, 2)), pressed=[[-1, -1], [-1, 1], [1, -1]])
    steps, _ = make_actor(script).collect([0], [0.0] * 3)
    np.testing.assert_array_equal(script.actions, [[0, 1], [1, 2], [2, 0]])
    np.testing.assert_array_equal(steps.action, [[0, 1], [1, 1], [1, 0]])


def test_collect_when_rewards_are_small_sums_them_in_float64():
    # 2**-25 is lost when it is added to 1 in float32.
    _, episodes = make_actor(Script([[1], [2**-25]], terminated=[[0], [1]])).collect([0], [0.0] * 2)
    assert_episodes(episodes, (1, 1 + 2**-25, 2))


def test_collect_returns_the_steps_with_the_last_observation_where_an_episode_ended():
    script = Script(
        reward=[[1, 10], [2, 20], [3, 30]], terminated=[[0, 0], [1, 0], [0, 0]], truncated=[[0, 1], [0, 0], [0, 0]]
    )
    steps, _ = make_actor(script).collect([0], [0.0] * 3)
    # (environment, episode, step of the episode)
    np.testing.assert_array_equal(
        steps.observation, [[(0, 0, 0), (1, 0, 0)], [(0, 0, 1), (1, 1, 0)], [(0, 1, 0), (1, 1, 1)]]
    )
    np.testing.assert_array_equal(
        steps.next_observation, [[(0, 0, 1), (1, 0, 1)], [(0, 0, 2), (1, 1, 1)], [(0, 1, 1), (1, 1, 2)]]
    )
    np.testing.assert_array_equal(steps.reward, [[1, 10], [2, 20], [3, 30]])
    np.testing.assert_array_equal(steps.terminated, [[0, 0], [1, 0], [0, 0]])
    np.testing.assert_array_equal(steps.truncated, [[0, 1], [0, 0], [0, 0]])


def test_collect_when_called_again_goes_on_from_the_last_observation():
    acting = make_actor(Script(np.zeros((4, 1)), truncated=[[0], [1], [0], [0]]))
    first, _ = acting.collect([0], [0.0] * 2)
    second, _ = acting.collect([0], [0.0] * 2)
    np.testing.assert_array_equal(first.next_observation[-1], [(0, 0, 2)])
    np.testing.assert_array_equal(second.observation, [[(0, 1, 0)], [(0, 1, 1)]])


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.0])
def test_collect_gives_the_documented_shapes_and_dtypes(epsilon):
    script = Script(np.zeros((5, 2)))
    steps, _ = make_actor(script).collect([0], [epsilon] * 5)
    assert [column.shape for column in steps] == [(5, 2, 3), (5, 2), (5, 2), (5, 2), (5, 2), (5, 2, 3)]
    assert [column.dtype for column in steps] == [np.float32, np.int32, np.float32, bool, bool, np.float32]
    assert {action.dtype for action in script.actions} == {np.dtype(np.int32)}
    np.testing.assert_array_equal(steps.action, script.actions)


def test_collect_when_observations_are_bytes_keeps_them_so():
    class Bytes(Script):
        def _observation(self):
            return super()._observation().astype(np.uint8)

    steps, _ = make_actor(Bytes(np.zeros((2, 1)))).collect([0], [0.0] * 2)
    assert steps.observation.dtype == steps.next_observation.dtype == np.uint8


# Episodes that are played again. Those of Tape last 3 to 7 steps, as their seeds say, and pay for actions.


@pytest.fixture
def play():
    """Returns a function that makes an Actor in three environments of Tape, closed after the test."""
    made = []

    def make():
        environment = vector.VectorEnvironment(maker.Maker("tests.environments:Tape-v0"), 3)
        made.append(actor.Actor(environment, StepPolicy(2), 2, seeds(1, 2, 3), generators(1, 2, 3)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def assert_equal(a, b):
    """Asserts that two NamedTuples of arrays are the same, bit for bit."""
    for field, x, y in zip(a._fields, a, b, strict=True):
        np.testing.assert_array_equal(x, y, err_msg=field, strict=isinstance(x, np.ndarray))


def played(acting, epsilons):
    """Returns what `collect` does, in a round that all workers end."""
    collected = acting.collect([0], epsilons)
    acting.keep()
    return collected


def begun(num_rounds, num_steps, acting):
    """Returns an actor after some rounds."""
    acting.restart([0, 0, 0])
    for _ in range(num_rounds):
        played(acting, [0.5] * num_steps)
    return acting


@pytest.mark.parametrize("num_rounds, num_steps", [(0, 1), (1, 1), (2, 1), (7, 1), (3, 5), (1, 40)])
def test_replay_in_new_environments_goes_on_as_if_nothing_had_been(play, num_rounds, num_steps):
    acting, other = begun(num_rounds, num_steps, play()), play()
    unfinished = acting.unfinished()
    assert [column.dtype for column in unfinished[:4]] == [np.int64, np.int64, np.int32, np.uint32]
    for _ in other.replay(unfinished):
        pass
    assert_equal(other.unfinished(), unfinished)
    for _ in range(3):
        (steps, episodes), (steps_too, episodes_too) = (played(one, [0.5] * 8) for one in (acting, other))
        assert_equal(steps_too, steps)
        assert_equal(episodes_too, episodes)
        assert len(episodes.length)  # of which some began before
        assert_equal(other.unfinished(), acting.unfinished())


def test_unfinished_counts_episodes_and_the_actions_in_each(play):
    acting = play()
    acting.restart([0, 2, 0])
    assert acting.unfinished().length.tolist() == [0, 0, 0] and acting.unfinished().action.tolist() == []
    steps, ends = played(acting, [0.5] * 20)
    unfinished = acting.unfinished()
    assert unfinished.length.max() <= 7 and sum(unfinished.length) + sum(ends.length) == 3 * 20
    assert sum(unfinished.episode) == 2 + len(ends.length)
    expected = [steps.action[20 - length :, i] for i, length in enumerate(unfinished.length)]
    np.testing.assert_array_equal(unfinished.action, np.concatenate(expected))


def test_unfinished_is_of_the_end_of_the_last_round_where_an_environment_has_raised_since(play):
    acting, other = begun(2, 3, play()), begun(2, 3, play())
    step, count = acting._environment.step, iter(range(2))

    def fail(action):
        next(count)  # StopIteration in the third step
        return step(action)

    acting._environment.step = fail
    with pytest.raises(StopIteration):
        acting.collect([0], [0.5] * 9)
    assert_equal(acting.unfinished(), other.unfinished())


def test_unfinished_is_of_the_end_of_the_last_round_where_another_worker_has_failed_in_this_one(play):
    acting, other = begun(2, 3, play()), begun(2, 3, play())
    acting.collect([0], [0.5] * 9)  # and no keep
    assert_equal(acting.unfinished(), other.unfinished())


@pytest.mark.parametrize("at_a_time", [1, 2, 100])
def test_replay_gives_the_steps_of_the_episodes_once_more(play, monkeypatch, at_a_time):
    monkeypatch.setattr(actor, "_REPLAYED_STEPS", at_a_time)
    acting = play()
    acting.restart([0, 0, 0])
    steps, _ = played(acting, [0.5] * 20)
    unfinished = acting.unfinished()
    longest = max(unfinished.length)
    assert longest > min(unfinished.length)
    parts = list(play().replay(unfinished))
    assert [len(part.action) for part in parts[:-1]] == [at_a_time] * (len(parts) - 1)
    again = type(steps)(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    assert len(again.action) == longest
    for i, length in enumerate(unfinished.length):
        for x, y in zip(again, steps, strict=True):
            np.testing.assert_array_equal(x[longest - length :, i], y[20 - length :, i])
        # What is before the first of them belongs to no episode.
        assert again.truncated[: longest - length, i].all() and not again.reward[: longest - length, i].any()


def test_checksum_is_of_observations_and_rewards():
    def checksum(script):
        acting = make_actor(script)
        played(acting, [0.0] * 2)
        return acting.unfinished().checksum.tolist()

    class Other(Script):
        def _observation(self):
            return super()._observation() + np.float32([[0, 0, 0], [0, 0, (self._step == 1).all()]])

    one, other = checksum(Script([[1, 1], [1, 1]])), checksum(Script([[1, 1.5], [1, 1]]))
    assert one[0] == other[0] and one[1] != other[1]
    other = checksum(Other([[1, 1], [1, 1]]))
    assert one[0] == other[0] and one[1] != other[1]


@pytest.mark.parametrize(
    ("env_steps", "expected"),
    [(0, 1.0), (250, 1 + (0.2 - 1) * 0.25), (500, 0.6), (999, 1 - 0.8 * 0.999), (1000, 0.2), (1001, 0.2), (10**9, 0.2)],
)
def test_linear_epsilon_falls_in_a_line_and_then_stays(env_steps, expected):
    assert exploration.linear_epsilon(env_steps, 1.0, 0.2, 1000) == pytest.approx(expected, rel=1e-12)


def test_linear_epsilon_when_there_is_no_decay_is_final_from_the_start():
    assert exploration.linear_epsilon(0, 1.0, 0.2, 0) == 0.2


def test_linear_epsilon_when_final_is_larger_rises():
    assert exploration.linear_epsilon(1, 0.0, 0.5, 4) == 0.125
