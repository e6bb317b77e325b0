"""Actions by number: both ways, of all spaces that have numbers."""

import numpy as np
import pytest
from gymnasium import spaces

from dqn_tf.environment import action_numbers

TABLES = [
    (spaces.Discrete(3, start=-1, dtype=np.int8), [-1, 0, 1]),
    (spaces.MultiDiscrete([2, 3]), [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]),
    (spaces.MultiDiscrete([2, 2], start=[5, -1], dtype=np.int16), [[5, -1], [5, 0], [6, -1], [6, 0]]),
    (
        spaces.MultiDiscrete([[1, 2], [2, 1]], start=[[3, 0], [0, 0]]),
        [[[3, 0], [0, 0]], [[3, 0], [1, 0]], [[3, 1], [0, 0]], [[3, 1], [1, 0]]],
    ),
    (spaces.MultiBinary(2), [[0, 0], [0, 1], [1, 0], [1, 1]]),
    (spaces.MultiBinary([1, 2]), [[[0, 0]], [[0, 1]], [[1, 0]], [[1, 1]]]),
]


@pytest.mark.parametrize(("space", "expected"), TABLES)
def test_table_of_a_space_has_its_actions_in_its_dtype_in_c_order(space, expected):
    actions = list(map(action_numbers.table(space).__getitem__, range(action_numbers.count(space))))
    np.testing.assert_array_equal(actions, expected)
    assert {action.dtype for action in actions} == {space.dtype}
    assert all(action in space for action in actions)


@pytest.mark.parametrize(("space", "expected"), TABLES)
def test_own_of_numbers_of_any_shape_gives_the_actions_of_the_table(space, expected):
    numbers = np.array([[1, 0], [2, 1]]) % len(expected)
    own = action_numbers.own(space, numbers)
    np.testing.assert_array_equal(own, np.array(expected)[numbers])
    assert own.dtype == (np.int64 if isinstance(space, spaces.Discrete) else space.dtype)
    assert action_numbers.own(space, np.empty(0, np.int64)).shape == (0, *space.shape)


@pytest.mark.parametrize("space", [space for space, _ in TABLES])
def test_plain_space_is_an_equal_one_without_the_users_class(space):
    kind = type(space)
    space.__class__ = type("Own", (kind,), {})
    made = action_numbers.plain(space)
    assert type(made) is kind and made.shape == space.shape
    np.testing.assert_array_equal(action_numbers.own(made, np.arange(2)), action_numbers.own(space, np.arange(2)))


def test_table_of_arrays_gives_copies():
    actions = action_numbers.table(spaces.MultiBinary(2))
    actions[3][:] = 0
    assert actions[3].tolist() == [1, 1]
