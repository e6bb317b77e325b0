"""Vector environments against scripted ones, whose every observation is known."""

import itertools
import pathlib
import subprocess
import sys
import time
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from dqn_tf.config import schema
from dqn_tf.environment import pool, spec, vector
from dqn_tf.environment.maker import Maker
from tests.environment.scripted import REFUSED, ROWS, TAKEN, Giving, assert_plays_again, seeds


class CountingEnv(gymnasium.Env):
    """Observation (seed, episode, step, last action); reward step + 0.25; terminates after `length` steps.

    Where `length` is None, after as many as its seed says. Seeds are those of scripted.seeds.
    """

    metadata = {"render_modes": []}

    def __init__(self, length, first_action=0):
        self.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
        self.action_space = spaces.Discrete(3, start=first_action)
        self._given_length = length

    def _observe(self, action):
        return np.float32([self._seed, self._episode, self._step, action])

    def reset(self, *, seed=None, options=None):
        self._episode, self._seed = divmod(seed, 100)
        self._length, self._step = self._given_length or self._seed, 0
        return self._observe(-1), {}

    def step(self, action):
        self._step += 1
        return self._observe(action), self._step + 0.25, self._step == self._length, False, {"note": "unread"}


class TwoObservationsEnv(gymnasium.Env):
    """Resets to the first of two observations; one step leads to the second and ends the episode."""

    metadata = {"render_modes": []}

    def __init__(self, space, observations, action_space=None):
        self.observation_space, self._observations = space, observations
        self.action_space = action_space or spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return self._observations[0], {}

    def step(self, action):
        return self._observations[1], 1.0, True, False, {}


@pytest.fixture
def register():
    """Returns gymnasium.register, undone after the test."""
    before = dict(gymnasium.registry)
    yield gymnasium.register
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


@pytest.fixture
def make():
    """Returns a function that makes a VectorEnvironment, which is closed after the test."""
    made = []

    def make_one(env_id, *args):
        made.append(vector.VectorEnvironment(Maker(env_id), *args))
        return made[-1]

    yield make_one
    for envs in made:
        envs.close()


@pytest.fixture(scope="module")
def processes():
    """Returns three of CartPole in a process each, made once: a reset forgets all."""
    envs = vector.VectorEnvironment(Maker("CartPole-v1"), 3, "async")
    yield envs
    envs.close()


def problem(env_id):
    """Returns what describe finds wrong with env_id."""
    with pytest.raises(schema.ConfigError) as raised:
        vector.describe(Maker(env_id))
    assert len(raised.value.problems) == 1 and "\n" not in str(raised.value)
    return str(raised.value)


def rollout(envs, numbers, actions):
    """Returns the first observation and all Steps."""
    first = envs.reset(seeds(*numbers))
    return first, [envs.step(action) for action in actions]


def assert_same_rollout(a, b, of=slice(None)):
    """Asserts that rollout b is what rollout a shows of some of its environments, bit for bit."""
    np.testing.assert_array_equal(a[0][of], b[0], strict=True)
    for step_a, step_b in zip(a[1], b[1], strict=True):
        for field, x, y in zip(vector.Step._fields, step_a, step_b, strict=True):
            np.testing.assert_array_equal(x[of], y, err_msg=field, strict=True)


def random_actions(num_steps, num_envs, num_actions=2):
    return np.random.default_rng(5).integers(num_actions, size=(num_steps, num_envs), dtype=np.int32)


# The specs.


def test_describe_when_cartpole_gives_its_spec():
    spec = vector.describe(Maker("CartPole-v1"))
    assert spec.env_id == "CartPole-v1"
    assert (spec.observation_shape, spec.observation_dtype) == ((4,), np.dtype(np.float32))
    assert isinstance(spec.observation_space, spaces.Box)
    assert spec.action_space == spaces.Discrete(2)
    assert (spec.reward_threshold, spec.max_episode_steps) == (475.0, 500)


def test_describe_when_actions_start_elsewhere_gives_the_first(register):
    register("dqn_tf/Start-v0", CountingEnv, kwargs={"length": 2, "first_action": 5})
    spec = vector.describe(Maker("dqn_tf/Start-v0"))
    assert spec.action_space == spaces.Discrete(3, start=5)
    assert (spec.reward_threshold, spec.max_episode_steps) == (None, None)


def test_describe_when_a_module_registers_the_environment_imports_it(register, tmp_path, monkeypatch):
    (tmp_path / "my_environments.py").write_text(
        "import gymnasium\n"
        "from gymnasium.envs.classic_control import cartpole\n"
        "gymnasium.register('Mine-v3', cartpole.CartPoleEnv, max_episode_steps=7)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    spec = vector.describe(Maker("my_environments:Mine-v3"))
    assert (spec.env_id, spec.max_episode_steps) == ("my_environments:Mine-v3", 7)


@pytest.mark.parametrize(
    "env_id, expected",
    [
        ("CartPol-v1", "--env=CartPol-v1 is not a registered environment; did you mean CartPole-v1 or CartPole-v0?"),
        (
            "math:CartPol-v1",
            "--env=math:CartPol-v1 is not a registered environment; "
            "did you mean math:CartPole-v1 or math:CartPole-v0?",
        ),
        (
            "Xyzzy/Qqq-v5",
            "--env=Xyzzy/Qqq-v5 is not a registered environment; where a package registers it, name its module too, "
            "such as --env=my_package:Xyzzy/Qqq-v5.",
        ),
        (
            "",
            "--env= is not a registered environment; where a package registers it, name its module too, "
            "such as --env=my_package:EnvId.",
        ),
        (
            "no_such_module:Mine-v0",
            "--env=no_such_module:Mine-v0: module no_such_module cannot be imported: "
            "ModuleNotFoundError: No module named 'no_such_module'",
        ),
        (
            "Pendulum-v1",
            "--env=Pendulum-v1 has a continuous action space Box(-2.0, 2.0, (1,), float32); DQN needs a Discrete, "
            "MultiDiscrete or MultiBinary one.",
        ),
    ],
)
def test_describe_when_the_environment_is_unusable_says_why(env_id, expected):
    assert problem(env_id) == expected


def test_describe_when_the_module_is_broken_says_which_and_why(tmp_path, monkeypatch):
    (tmp_path / "broken_environments.py").write_text("raise RuntimeError('first line\\nsecond line')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert problem("broken_environments:Mine-v0") == (
        "--env=broken_environments:Mine-v0: module broken_environments cannot be imported: "
        f"RuntimeError: first line second line ({tmp_path}/broken_environments.py, line 1)"
    )


def test_describe_when_a_dependency_is_missing_gives_the_install_hint(register):
    def entry_point():
        raise gymnasium.error.DependencyNotInstalled("Box3D is not installed,\n run `pip install box3d`")

    register("dqn_tf/Missing-v0", entry_point)
    assert problem("dqn_tf/Missing-v0") == (
        "--env=dqn_tf/Missing-v0 needs a package that is not installed: Box3D is not installed, run `pip install box3d`"
    )


def test_describe_when_the_environment_cannot_be_made_gives_its_reason(register):
    register("dqn_tf/Failing-v0", lambda: int("seven"))
    line, _, place = problem("dqn_tf/Failing-v0").rpartition(" (")
    assert line == "--env=dqn_tf/Failing-v0 cannot be made: ValueError: invalid literal for int() with base 10: 'seven'"
    assert place.startswith(f"{__file__}, line ")


@pytest.mark.parametrize(
    "action_space, expected",
    [
        (spaces.Box(0, 1, (2,)), "a continuous action space Box(0.0, 1.0, (2,), float32)"),
        (spaces.Tuple([spaces.Discrete(2)]), "an action space Tuple(Discrete(2))"),
    ],
)
def test_describe_when_actions_are_not_discrete_names_their_space(register, action_space, expected):
    kwargs = {"space": spaces.Discrete(2), "observations": (0, 1), "action_space": action_space}
    register("dqn_tf/Actions-v0", TwoObservationsEnv, kwargs=kwargs)
    needed = "DQN needs a Discrete, MultiDiscrete or MultiBinary one."
    assert problem("dqn_tf/Actions-v0") == f"--env=dqn_tf/Actions-v0 has {expected}; {needed}"


@pytest.mark.parametrize(
    "space, text",
    [
        (spaces.Text(4, charset="ab"), "Text(1, 4, charset=ab)"),
        (spaces.OneOf([spaces.Discrete(2), spaces.Discrete(3)]), "OneOf(Discrete(2), Discrete(3))"),
        (spaces.Tuple([spaces.Text(4, charset="ab")]), "Tuple(Text(1, 4, charset=ab))"),
        (spaces.Dict(a=spaces.OneOf([spaces.Discrete(2)])), "Dict('a': OneOf(Discrete(2)))"),
    ],
)
def test_describe_when_observations_have_no_fixed_size_names_what_is_supported(register, space, text):
    register("dqn_tf/Observations-v0", TwoObservationsEnv, kwargs={"space": space, "observations": ()})
    assert problem("dqn_tf/Observations-v0") == (
        f"--env=dqn_tf/Observations-v0 has an observation space {text}; "
        "supported are Box, Discrete, MultiBinary, MultiDiscrete, and Dict and Tuple of these."
    )


# Observations.

PAIR = spaces.Box(-9, 9, (2,), np.float32)
OBSERVATIONS = [  # (space, observations of the environment, what the agent sees, its dtype)
    (PAIR, (np.float32([1, 2]), np.float32([3, 4])), ([1, 2], [3, 4]), np.float32),
    (
        spaces.Box(-9, 9, (2, 1), np.float64),
        (np.array([[0.1], [2]]), np.array([[3], [4]])),
        (np.float32([[0.1], [2]]), [[3], [4]]),
        np.float32,
    ),
    (spaces.Box(-9, 9, (2,), np.int16), (np.int16([1, 2]), np.int16([-3, 4])), ([1, 2], [-3, 4]), np.float32),
    (
        spaces.Box(0, 255, (1, 2, 1), np.uint8),
        (np.uint8([[[0], [255]]]), np.uint8([[[7], [8]]])),
        ([[[0], [255]]], [[[7], [8]]]),
        np.uint8,
    ),
    (
        spaces.Box(0, 1, (3,), np.bool_),
        (np.array([True, False, True]), np.array([False, True, True])),
        ([1, 0, 1], [0, 1, 1]),
        np.uint8,
    ),
    (spaces.Box(-9, 9, (), np.float32), (np.float32(1.5), np.float32(2.5)), ([1.5], [2.5]), np.float32),
    (spaces.Discrete(3), (2, 0), ([0, 0, 1], [1, 0, 0]), np.float32),
    (spaces.Discrete(3, start=5), (6, 5), ([0, 1, 0], [1, 0, 0]), np.float32),
    (spaces.MultiBinary(3), (np.int8([1, 0, 0]), np.int8([0, 1, 1])), ([1, 0, 0], [0, 1, 1]), np.float32),
    (
        spaces.MultiBinary([2, 1]),
        (np.int8([[1], [0]]), np.int8([[0], [1]])),
        ([1, 0], [0, 1]),
        np.float32,
    ),
    (
        spaces.MultiDiscrete([2, 3]),
        (np.array([1, 2]), np.array([0, 0])),
        ([0, 1, 0, 0, 1], [1, 0, 1, 0, 0]),
        np.float32,
    ),
    (
        spaces.Dict(a=PAIR, b=spaces.Discrete(2)),
        ({"a": np.float32([1, 2]), "b": 0}, {"a": np.float32([3, 4]), "b": 1}),
        ([1, 2, 1, 0], [3, 4, 0, 1]),
        np.float32,
    ),
    (
        spaces.Tuple([spaces.Discrete(2), spaces.Dict(a=spaces.MultiBinary(2), b=spaces.Tuple([PAIR]))]),
        (
            (1, {"a": np.int8([0, 1]), "b": (np.float32([5, 6]),)}),
            (0, {"a": np.int8([1, 1]), "b": (np.float32([7, 8]),)}),
        ),
        ([0, 1, 0, 1, 5, 6], [1, 0, 1, 1, 7, 8]),
        np.float32,
    ),
]


@pytest.mark.parametrize("space, given, seen, dtype", OBSERVATIONS, ids=[str(row[0]) for row in OBSERVATIONS])
def test_step_when_observations_are_of_a_supported_kind_gives_arrays(register, make, space, given, seen, dtype):
    register("dqn_tf/Observations-v0", TwoObservationsEnv, kwargs={"space": space, "observations": given})
    envs = make("dqn_tf/Observations-v0", 2)
    first, last = (np.stack([x, x]).astype(dtype) for x in seen)
    np.testing.assert_array_equal(envs.reset(seeds(0, 1)), first, strict=True)
    step = envs.step(np.int32([0, 1]))
    np.testing.assert_array_equal(step.next_observation, last, strict=True)
    np.testing.assert_array_equal(step.observation, first, strict=True)
    assert envs.spec.observation_space == space
    assert (envs.spec.observation_shape, envs.spec.observation_dtype) == (first.shape[1:], np.dtype(dtype))


# Episodes.


def test_step_when_terminated_gives_the_last_and_the_reset_observation(register, make):
    register("dqn_tf/Counting-v0", CountingEnv, kwargs={"length": 2})
    first, steps = rollout(make("dqn_tf/Counting-v0", 2), [7, 8], np.int32([[0, 1], [1, 2], [2, 0]]))
    np.testing.assert_array_equal(first, [[7, 0, 0, -1], [8, 0, 0, -1]])

    np.testing.assert_array_equal(steps[0].next_observation, [[7, 0, 1, 0], [8, 0, 1, 1]])
    np.testing.assert_array_equal(steps[0].observation, [[7, 0, 1, 0], [8, 0, 1, 1]])
    np.testing.assert_array_equal(steps[0].terminated, [False, False])

    np.testing.assert_array_equal(steps[1].next_observation, [[7, 0, 2, 1], [8, 0, 2, 2]])
    np.testing.assert_array_equal(steps[1].observation, [[7, 1, 0, -1], [8, 1, 0, -1]])
    np.testing.assert_array_equal(steps[1].terminated, [True, True])
    np.testing.assert_array_equal(steps[1].truncated, [False, False])

    np.testing.assert_array_equal(steps[2].next_observation, [[7, 1, 1, 2], [8, 1, 1, 0]])
    np.testing.assert_array_equal(steps[2].terminated, [False, False])


def test_step_when_truncated_by_the_time_limit_gives_the_last_and_the_reset_observation(register, make):
    register("dqn_tf/Counting-v0", CountingEnv, kwargs={"length": 9}, max_episode_steps=2)
    _, steps = rollout(make("dqn_tf/Counting-v0", 1), [7], np.int32([[0], [1]]))
    np.testing.assert_array_equal(steps[1].next_observation, [[7, 0, 2, 1]])
    np.testing.assert_array_equal(steps[1].observation, [[7, 1, 0, -1]])
    np.testing.assert_array_equal(steps[1].terminated, [False])
    np.testing.assert_array_equal(steps[1].truncated, [True])


def test_step_when_it_terminates_at_the_time_limit_gives_both_flags(register, make):
    register("dqn_tf/Counting-v0", CountingEnv, kwargs={"length": 2}, max_episode_steps=2)
    _, steps = rollout(make("dqn_tf/Counting-v0", 1), [7], np.int32([[0], [1]]))
    assert steps[1].terminated[0] and steps[1].truncated[0]


def test_step_when_one_environment_ends_leaves_the_other_alone(register, make):
    register("dqn_tf/Counting-v0", CountingEnv, kwargs={"length": None})
    _, steps = rollout(make("dqn_tf/Counting-v0", 2), [2, 3], np.int32([[0, 0], [1, 1], [2, 2]]))
    np.testing.assert_array_equal([step.terminated for step in steps], [[False, False], [True, False], [False, True]])
    np.testing.assert_array_equal(steps[1].next_observation, [[2, 0, 2, 1], [3, 0, 2, 1]])
    np.testing.assert_array_equal(steps[1].observation, [[2, 1, 0, -1], [3, 0, 2, 1]])
    np.testing.assert_array_equal(steps[2].next_observation, [[2, 1, 1, 2], [3, 0, 3, 2]])
    np.testing.assert_array_equal(steps[2].observation, [[2, 1, 1, 2], [3, 1, 0, -1]])


def test_step_counts_only_real_steps(register, make):
    register("dqn_tf/Counting-v0", CountingEnv, kwargs={"length": 3})
    _, steps = rollout(make("dqn_tf/Counting-v0", 1), [0], np.zeros((7, 1), np.int32))
    assert [int(step.next_observation[0, 2]) for step in steps] == [1, 2, 3, 1, 2, 3, 1]
    np.testing.assert_array_equal(
        np.concatenate([step.reward for step in steps]), [1.25, 2.25, 3.25, 1.25, 2.25, 3.25, 1.25]
    )


def test_step_gives_the_documented_shapes_and_dtypes(make):
    envs = make("CartPole-v1", 3)
    assert envs.num_envs == 3
    envs.reset(seeds(0, 1, 2))
    step = envs.step(np.zeros(3, np.int32))
    assert [x.shape for x in step] == [(3, 4), (3,), (3,), (3,), (3,), (3, 4), (3,)]
    assert [x.dtype for x in step] == [np.float32, np.float32, bool, bool, bool, np.float32, np.int32]


def test_step_when_actions_start_elsewhere_shifts_them(register, make):
    register("dqn_tf/Start-v0", CountingEnv, kwargs={"length": 9, "first_action": 5})
    _, steps = rollout(make("dqn_tf/Start-v0", 3), [0, 0, 0], np.int32([[0, 1, 2]]))
    np.testing.assert_array_equal(steps[0].observation[:, 3], [5, 6, 7])
    np.testing.assert_array_equal(steps[0].action, [0, 1, 2])  # as the network numbers them


def test_step_says_ended_wherever_an_episode_is_terminated_or_truncated(register, make):
    register("dqn_tf/Counting-v0", CountingEnv, kwargs={"length": None}, max_episode_steps=3)
    _, steps = rollout(make("dqn_tf/Counting-v0", 3), [2, 3, 4], np.zeros((3, 3), np.int32))
    terminated, truncated, ended = (
        [getattr(step, name).tolist() for step in steps] for name in ("terminated", "truncated", "ended")
    )
    assert terminated == [[False] * 3, [True, False, False], [False, True, False]]
    assert truncated == [[False] * 3, [False] * 3, [False, True, True]]
    assert ended == [[False] * 3, [True, False, False], [False, True, True]]


def test_step_when_taken_again_leaves_earlier_arrays_alone(make):
    envs = make("CartPole-v1", 2)
    arrays, observations = [envs.reset(seeds(0, 1))], []
    for action in random_actions(60, 2):  # Some of these end an episode.
        step = envs.step(action)
        arrays += step
        observations.append(step.next_observation)
    copies = [array.copy() for array in arrays]
    rollout(envs, [2, 3], random_actions(5, 2))
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert len({id(observation) for observation in observations}) == 60
    assert not any(np.shares_memory(a, b) for a, b in itertools.pairwise(observations))


# Seeds.


def test_reset_when_seeds_are_equal_repeats_the_stream(make):
    actions = random_actions(150, 3)
    one, other = make("CartPole-v1", 3), make("CartPole-v1", 3)
    reference = rollout(one, [3, 4, 5], actions)
    assert sum(step.terminated.any() for step in reference[1]) > 3  # The stream spans several episodes.
    assert_same_rollout(reference, rollout(other, [3, 4, 5], actions))
    assert_same_rollout(reference, rollout(one, [3, 4, 5], actions))


def test_reset_when_seeds_differ_gives_other_streams(make):
    observation = make("CartPole-v1", 2).reset(seeds(3, 4))
    assert (observation[0] != observation[1]).all()


def test_step_when_there_are_other_environments_depends_on_its_own_seed_only(make):
    actions = random_actions(150, 3)
    three = rollout(make("CartPole-v1", 3), [3, 4, 5], actions)
    alone = rollout(make("CartPole-v1", 1), [4], actions[:, 1:2])
    assert_same_rollout(three, alone, of=slice(1, 2))


def test_step_when_async_equals_sync(make, processes):
    actions = random_actions(100, 3)
    sync = rollout(make("CartPole-v1", 3), [3, 4, 5], actions)
    assert_same_rollout(sync, rollout(processes, [3, 4, 5], actions))


def test_reset_to_other_episodes_gives_those_that_would_have_come(register, make):
    register("dqn_tf/Counting-v0", CountingEnv, kwargs={"length": 2})
    envs = make("dqn_tf/Counting-v0", 3)
    np.testing.assert_array_equal(
        envs.reset(seeds(7, 8, 9), [2, 0, 5]), [[7, 2, 0, -1], [8, 0, 0, -1], [9, 5, 0, -1]]
    )
    step = [envs.step(np.int32([0, 1, 2])) for _ in range(2)][-1]
    np.testing.assert_array_equal(step.observation, [[7, 3, 0, -1], [8, 1, 0, -1], [9, 6, 0, -1]])


# Episodes that are played again.


@pytest.mark.parametrize("stop", [1, 30, 97])
def test_replay_gives_what_was_played_and_goes_on_with_it(make, stop):
    actions, numbers = random_actions(100, 4), [3, 4, 5, 6]
    played = rollout(make("CartPole-v1", 4), numbers, actions)
    assert_plays_again(make("CartPole-v1", 4), numbers, played, actions, stop)


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_replay_where_an_episode_has_just_begun_gives_its_first_observation(request, make, vectorization):
    actions, numbers = random_actions(100, 3), [3, 4, 5]
    envs = make("CartPole-v1", 3) if vectorization == "sync" else request.getfixturevalue("processes")
    played = rollout(make("CartPole-v1", 3), numbers, actions)
    stop = max(t for t in range(100) if played[1][t].ended.any()) + 1
    assert_plays_again(envs, numbers, played, actions, stop)


def test_replay_of_nothing_plays_nothing(make):
    envs = make("CartPole-v1", 2)
    first = envs.reset(seeds(3, 4), [5, 6])
    assert list(envs.replay([np.int32([])] * 2)) == []
    np.testing.assert_array_equal(envs.reset(seeds(3, 4), [5, 6]), first)


# What environments give. The rows are told of in test_instance.


@pytest.fixture
def giving(register):
    register("dqn_tf/Giving-v0", Giving)
    return "dqn_tf/Giving-v0"


def failure(envs, numbers):
    with pytest.raises(spec.EnvironmentFailure) as raised:
        envs.reset(seeds(*numbers))
        envs.step(np.int32([1] * len(numbers)))
    return str(raised.value), raised.value.trace


def test_step_of_what_cannot_be_used_says_the_same_in_a_process_of_its_own(giving, make):
    here, there = (make(giving, 1, vectorization, None, 4) for vectorization in ("sync", "async"))
    for number in REFUSED:
        said = failure(here, [number])
        assert failure(there, [number]) == said
        step = int(ROWS[number].said.startswith("step"))
        assert said[0] == f"--env={giving}: environment 4, episode 0, step {step}: {ROWS[number].said}"
    for number in TAKEN:  # the process goes on after a failure
        assert_same_rollout(rollout(here, [number], np.int32([[1]])), rollout(there, [number], np.int32([[1]])))


def test_step_where_several_environments_fail_names_the_first(giving, make):
    first, last = REFUSED[0], REFUSED[1]
    said, _ = failure(make(giving, 3, "sync", None, 4), [TAKEN[0], first, last])
    assert said == f"--env={giving}: environment 5, episode 0, step 1: {ROWS[first].said}"


# Manners.


def test_vector_environment_when_the_id_is_unknown_raises_as_describe():
    with pytest.raises(schema.ConfigError, match="did you mean CartPole-v1"):
        vector.VectorEnvironment(Maker("CartPol-v1"), 2)


def test_close_of_environments_that_raise_is_a_warning_for_each(register, caplog):
    class Clings(CountingEnv):
        num_closed = 0

        def close(self):
            type(self).num_closed += 1
            if self.num_closed > 1:  # the first one is that of describe
                raise OSError("no\nport")

    register("dqn_tf/Clings-v0", Clings, kwargs={"length": 2})
    envs = vector.VectorEnvironment(Maker("dqn_tf/Clings-v0"), 2)
    envs.close()
    assert [record.getMessage() for record in caplog.records] == [
        "--env=dqn_tf/Clings-v0: close raised OSError: no port"
    ] * 2
    envs.close()  # a second time changes nothing
    assert len(caplog.records) == 2 and Clings.num_closed == 3


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_close_of_an_environment_that_does_not_return_is_a_warning(register, caplog, monkeypatch, vectorization):
    class Sticks(CountingEnv):
        is_used = False  # nor is it by describe

        def step(self, action):
            self.is_used = True
            return super().step(action)

        def close(self):
            time.sleep(60 if self.is_used else 0)

    register("dqn_tf/Sticks-v0", Sticks, kwargs={"length": 2})
    envs = vector.VectorEnvironment(Maker("dqn_tf/Sticks-v0"), 1, vectorization)
    envs.reset([int])
    envs.step(np.zeros(1, np.int32))
    monkeypatch.setattr(pool, "_CLOSE_SECONDS", 0.2)
    envs.close()
    (record,) = caplog.records
    assert record.getMessage() == "--env=dqn_tf/Sticks-v0: close has not returned in 5 s"


def test_a_rollout_when_all_is_well_warns_of_nothing(make):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rollout(make("CartPole-v0", 2), [0, 1], random_actions(50, 2))  # v0: gymnasium.make calls it out of date.


def test_a_process_when_all_is_well_writes_nothing_to_stderr():
    program = (
        "import numpy\n"
        "from dqn_tf.environment import maker, vector\n"
        "envs = vector.VectorEnvironment(maker.Maker('CartPole-v1'), 2)\n"
        "envs.reset([int, int])\n"
        "envs.step(numpy.zeros(2, numpy.int32))\n"
    )
    root = pathlib.Path(vector.__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
