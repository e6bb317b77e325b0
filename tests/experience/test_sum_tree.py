"""The sum tree beside a plain array of values."""

import numpy as np
import pytest

from dqn_tf.experience import sum_tree


def make(values, capacity=None):
    tree = sum_tree.SumTree(capacity or len(values))
    tree.update(np.arange(len(values)), np.array(values, np.float64))
    return tree


def total_of(values):
    """Returns the sum of values as a binary tree of them has it."""
    level = np.zeros(1 << (len(values) - 1).bit_length())
    level[: len(values)] = values
    while len(level) > 1:
        level = level[::2] + level[1::2]
    return level[0]


@pytest.mark.parametrize("values", [[3], [2, 1], [1, 0, 2], [0, 0, 4, 1, 0, 3, 0], [1] * 8, [5, *[0] * 7, 2]])
def test_find_when_targets_are_all_whole_numbers_finds_each_row_as_often_as_its_value_says(values):
    # A target at the end of a row's part belongs to the next row.
    expected = [row for row, value in enumerate(values) for _ in range(value)]
    assert make(values).find(np.arange(sum(values), dtype=np.float64)).tolist() == expected


def test_find_when_values_have_fractions_agrees_with_cumulative_sums():
    generator = np.random.default_rng(0)
    values = generator.exponential(size=1000) * (generator.random(1000) < 0.7)
    targets = generator.random(20_000) * values.sum()
    expected = np.searchsorted(np.cumsum(values), targets, side="right")
    np.testing.assert_array_equal(make(values).find(targets), expected)


@pytest.mark.parametrize("values, expected", [([5, 0, 0], 0), ([0, 0.1, 0.2, 0], 2), ([0, 7, 0, 0, 0, 0], 1)])
def test_find_when_the_target_is_the_total_finds_the_last_row_with_a_value(values, expected):
    tree = make(values)
    assert tree.find(np.array([tree.total, np.nextafter(tree.total, 0)])).tolist() == [expected, expected]


def test_find_when_sums_are_rounded_finds_no_row_without_a_value():
    generator = np.random.default_rng(1)
    for capacity in range(1, 60):
        values = 2.0 ** generator.integers(-70, 70, size=capacity) * (generator.random(capacity) < 0.5)
        values[generator.integers(capacity)] = 1.0
        tree = make(values)
        rows = tree.find(np.concatenate((generator.random(200) * tree.total, [0.0, tree.total])))
        assert (values[rows] > 0).all()  # and all are rows


def test_update_when_rows_are_repeated_keeps_the_last_value():
    generator = np.random.default_rng(2)
    rows, values = generator.integers(300, size=5000), generator.random(5000)
    tree, expected = sum_tree.SumTree(300), np.zeros(300)
    tree.update(rows, values)
    for row, value in zip(rows, values, strict=True):
        expected[row] = value
    np.testing.assert_array_equal(tree.values(np.arange(300)), expected)
    assert tree.total == total_of(expected)


def test_sums_after_ten_million_updates_are_those_of_a_new_tree():
    generator = np.random.default_rng(3)
    tree, values = sum_tree.SumTree(100_000), np.zeros(100_000)
    for call in range(2500):
        count = 4000 + call % 3 - 1
        rows, new = generator.integers(100_000, size=count), 10.0 ** generator.uniform(-9, 9, count)
        tree.update(rows, new)
        values[rows] = new
    assert tree.total == total_of(values)
    np.testing.assert_array_equal(tree._nodes, make(values)._nodes)


def test_clear_leaves_values_of_0():
    tree = make([1, 2, 3])
    tree.clear()
    assert tree.total == 0 and tree.values(np.arange(3)).tolist() == [0, 0, 0]
