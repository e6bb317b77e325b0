"""One environment: what it may give, and what is said of all else."""

import signal

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from dqn_tf.environment import instance, spec, vector
from tests.environment.scripted import REFUSED, ROWS, TAKEN, Giving, seeds

WHERE = "--env=Giving-v0: environment 7, episode"


def make(make_env=Giving, space=Giving().observation_space, num_actions=2):
    shape, dtype = vector._observation_shape_and_dtype(space)
    described = spec.EnvironmentSpec("Giving-v0", space, shape, dtype, spaces.Discrete(num_actions), None, None)
    return instance.Instance(make_env, described, 7)


def row_of(number):
    return " ".join(f"{name}={value!r}" for name, value in ROWS[number].given.items())[:40] or "usual"


@pytest.mark.parametrize("number", TAKEN, ids=row_of)
def test_step_of_what_can_be_used_gives_it_as_floats_and_flags(number):
    made = make()
    first, _ = made.begin(*seeds(number), 3)
    outcome = made.step(1)
    assert (outcome.reward, type(outcome.reward)) == (1.0, float)
    assert (outcome.terminated, outcome.truncated) == (False, False)
    assert outcome.observation is outcome.next_observation
    for observation in (first, outcome.observation):
        np.testing.assert_array_equal(observation, np.zeros(2, np.float32), strict=True)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("number", REFUSED, ids=row_of)
def test_step_of_what_cannot_be_used_says_where_and_what_it_is(number):
    made, said = make(), ROWS[number].said
    with pytest.raises(spec.EnvironmentFailure) as raised:
        made.begin(*seeds(number), 3)
        assert said.startswith("step")
        made.step(1)
    assert str(raised.value) == f"{WHERE} 3, step {int(said.startswith('step'))}: {said}"
    assert bool(raised.value.trace) == (" raised " in said)


def test_keyboard_interrupt_is_the_users_or_where_signals_are_handled_the_environments(monkeypatch):
    class Interrupts(Giving):
        def step(self, action):
            raise KeyboardInterrupt

    made = make(Interrupts)
    made.begin(*seeds(TAKEN[0]), 3)
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        made.step(1)
    monkeypatch.setattr(signal, "getsignal", lambda number: print)
    with pytest.raises(spec.EnvironmentFailure, match="step raised KeyboardInterrupt"):
        made.step(1)


@pytest.mark.parametrize("flag", [True, np.array([True]), np.float32(1)], ids=repr)
@pytest.mark.parametrize("name", ["terminated", "truncated"])
def test_step_that_ends_an_episode_begins_the_next_with_its_seed(name, flag):
    class Ends(Giving):
        def reset(self, *, seed=None, options=None):
            self._given = {name: flag}
            return [seed / 1000, 0], {}

    made = make(Ends)
    np.testing.assert_array_equal(made.begin(*seeds(7), 3)[0], np.float32([0.307, 0]))
    outcome = made.step(0)
    assert (getattr(outcome, name), outcome.terminated + outcome.truncated) == (True, 1)
    np.testing.assert_array_equal(outcome.next_observation, [0, 0])
    np.testing.assert_array_equal(outcome.observation, np.float32([0.407, 0]))


def test_step_whose_next_episode_does_not_begin_names_that_one():
    class Ends(Giving):
        def step(self, action):
            self._given = {"first": None}
            return [0, 0], 0.0, True, False, {}

        def reset(self, *, seed=None, options=None):
            if seed >= 500:
                raise RuntimeError("worn out")
            return [0, 0], {}

    made = make(Ends)
    made.begin(*seeds(7), 3)
    made.step(0)
    with pytest.raises(spec.EnvironmentFailure, match=f"^{WHERE} 5, step 0: reset raised RuntimeError: worn out$"):
        made.step(0)


def trace_of(function, *arguments):
    with pytest.raises(spec.EnvironmentFailure) as raised:
        function(*arguments)
    return raised.value.trace.splitlines()


def test_failure_of_what_raises_has_the_traceback_of_its_author():
    class Breaks(Giving):
        def step(self, action):
            try:
                return {}["arm"]
            except KeyError as error:
                raise ValueError("no arm") from error

    made = make(Breaks)
    made.begin(*seeds(0), 0)
    lines = trace_of(made.step, 0)
    assert [line.split(", ")[0] for line in lines if "File " in line] == [f'  File "{__file__}"'] * 2
    assert '    return {}["arm"]' in lines
    assert lines[-1] == "ValueError: no arm"


def test_failure_of_an_environment_that_takes_other_arguments_shows_no_code_but_its_authors():
    class Old(Giving):
        def reset(self):
            return [0, 0]

    lines = trace_of(make(Old).begin, *seeds(0), 0)
    assert len(lines) == 1 and lines[0].startswith("TypeError: ") and "unexpected keyword argument 'seed'" in lines[0]


def test_instance_that_cannot_be_made_says_why():
    with pytest.raises(spec.EnvironmentFailure, match="environment 7, .*: it cannot be made: OSError: no simulator$"):
        make(lambda: (_ for _ in ()).throw(OSError("no simulator")))


# Observations of other spaces; those that are well made are in test_vector.

PAIR, BYTES = spaces.Box(-9, 9, (2,), np.float32), spaces.Box(0, 255, (2,), np.uint8)
TWO = spaces.Tuple([spaces.Discrete(2), PAIR])


def begun(space, observation):
    """Returns what is seen of an observation of a space."""

    class Shows(Giving):
        def reset(self, *, seed=None, options=None):
            return observation, {}

    return make(Shows, space).begin(*seeds(0), 0)[0]


@pytest.mark.parametrize(
    "space, observation, seen",
    [
        (spaces.Box(-9, 9, (1,)), 1.5, np.float32([1.5])),
        (spaces.Box(-9, 9, (1,)), np.array([[1.5]]), np.float32([1.5])),
        (spaces.Box(-9, 9, (0,)), [], np.float32([])),
        (spaces.Discrete(3), np.array([1]), np.float32([0, 1, 0])),
        (BYTES, np.array([255.0, 0.0]), np.uint8([255, 0])),
        (spaces.Box(0, 1, (2,), np.bool_), [True, 0], np.uint8([1, 0])),
        (spaces.Box(-np.inf, np.inf, (2,)), [3.4e38, -3.4e38], np.float32([3.4e38, -3.4e38])),
    ],
    ids=str,
)
def test_begin_of_an_observation_that_is_nearly_of_its_space_takes_it(space, observation, seen):
    np.testing.assert_array_equal(begun(space, observation), seen, strict=True)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "space, observation, said",
    [
        (spaces.Box(-9, 9, (1,)), [1.5, 2], "of shape (2,), its space has (1,)"),
        (spaces.Box(-9, 9, ()), np.nan, "with np.float32(nan) at [0], which float32 cannot"),
        (spaces.Discrete(3), 3, "that does not fit its space: 3 (int): it is not in Discrete(3)"),
        (spaces.Discrete(3, start=5), 4, "that does not fit its space: 4 (int): it is not in Discrete(3, start=5)"),
        (spaces.Dict(a=TWO), {"a": (2, [0, 0])}, "that does not fit its space: {'a': (2, [0, 0])} (dict): it is"),
        (spaces.MultiDiscrete([2, 3]), [2, 0], "that does not fit its space: [2, 0] (list): it is not in Multi"),
        (spaces.Discrete(3), 1.5, "that does not fit its space: 1.5 (float): "),
        (spaces.MultiBinary(3), [0, 1], "of shape (2,), its space has (3,)"),
        (TWO, 5, "that does not fit its space: 5 (int): 'int' object is not iterable"),
        (spaces.Dict(a=PAIR), {"b": [1, 2]}, "that does not fit its space: {'b': [1, 2]} (dict): 'a'"),
        (BYTES, [300, 0], "that does not fit its space: [300, 0] (list): "),
        (BYTES, np.array([0.5, 0]), "that does not fit its space: array([0.5, 0. ]) (ndarray): "),
        (spaces.Dict(a=BYTES), {"a": [300, 0]}, "that does not fit its space: {'a': [300, 0]} (dict): it is not in B"),
        (spaces.Dict(a=spaces.Box(0, 9, (1,), np.int64)), {"a": [np.nan]}, "that does not fit its space: {'a': [nan]}"),
    ],
    ids=str,
)
def test_begin_of_an_observation_that_is_not_of_its_space_says_what_it_is(space, observation, said):
    with pytest.raises(spec.EnvironmentFailure) as raised:
        begun(space, observation)
    assert str(raised.value).startswith(f"{WHERE} 0, step 0: reset returned an observation {said}")
    assert "\n" not in str(raised.value)


def test_observations_are_arrays_of_their_own():
    shared = np.zeros(2, np.float32)

    class Writes(Giving):
        def reset(self, *, seed=None, options=None):
            return shared, {}

        def step(self, action):
            shared[:] += 1
            return shared, 0.0, False, False, {}

    made = make(Writes)
    seen = [made.begin(*seeds(0), 0)[0], made.step(0).observation, made.step(0).observation]
    np.testing.assert_array_equal(seen, [[0, 0], [1, 1], [2, 2]])


# Actions.


@pytest.mark.parametrize("dtype", [np.int64, np.int8])
def test_actions_are_of_the_spaces_own_dtype_and_count_from_its_start(dtype):
    class Acts(Giving):
        def __init__(self):
            super().__init__()
            self.action_space = spaces.Discrete(3, start=-1, dtype=dtype)
            self.actions = []

        def step(self, action):
            self.actions.append(action)
            return [0, 0], 0.0, False, False, {}

    acting = Acts()
    made = make(lambda: acting, num_actions=3)
    made.begin(*seeds(0), 0)
    for action in (2, 0, 1):
        made.step(action)
    assert acting.actions == [1, -1, 0]
    assert {type(action) for action in acting.actions} == {dtype}
    assert all(action in acting.action_space for action in acting.actions)


def test_actions_that_an_environment_shifts_far_do_not_overflow():
    class Shifts(Giving):
        def step(self, action):
            return [0, 0], float((action << 40) + action * 2**33), False, False, {}

    made = make(Shifts)
    made.begin(*seeds(0), 0)
    assert made.step(1).reward == 2.0**40 + 2.0**33


# Manners.


@pytest.mark.parametrize("error", [OSError("no\nport"), SystemExit(2)])
def test_close_of_an_environment_that_raises_tells_it(error):
    class Clings(Giving):
        def close(self):
            raise error

    assert make(Clings).close() == f"raised {type(error).__name__}: {' '.join(str(error).split())}"
    assert make().close() == ""


@pytest.mark.parametrize("metadata, expected", [({}, 30), ({"render_fps": 12}, 12)])
def test_frames_per_second_are_those_of_the_environment(metadata, expected):
    class Draws(gymnasium.Env):
        action_space = spaces.Discrete(2)

    Draws.metadata = metadata
    assert make(Draws).frames_per_second() == expected
