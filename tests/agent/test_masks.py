"""Acting under action masks, in an environment that raises where an action is not legal."""

import types

import numpy as np
import pytest

from dqn_tf.agent import actor, choice, exploration
from dqn_tf.environment import maker, probe, vector
from tests.environment.scripted import seeds

MINES = maker.Maker("tests.environments:Mines-v0")
SLOPES = np.float32([9, 8, 7, 3, 2, 1])  # the greedy action is the first or the last legal one


def in_mines(numbers, first_number=0):
    """Returns an actor in an environment for each number, which gives its episodes and its exploration."""
    made = probe.describe(MINES)
    envs = vector.VectorEnvironment(MINES, len(numbers), first_number=first_number, made=made)
    policy = types.SimpleNamespace(load=lambda weights: None, values=lambda seen: seen[..., :1] * SLOPES)
    generators = [np.random.default_rng(number) for number in numbers]
    acting = actor.Actor(envs, policy, 6, seeds(*numbers), generators)
    acting.restart([0] * len(numbers))
    return acting


def exploring(epsilon, num_steps, temperature=0.0):
    return exploration.Explored(np.full((num_steps, 1), epsilon), temperature)


def played(acting, num_steps):
    """Returns the Steps of a round that all workers end."""
    steps, _ = acting.collect([0], exploring(0.5, num_steps))
    acting.keep()
    return steps


def assert_equal(a, b):
    """Asserts that two NamedTuples of arrays are the same, bit for bit."""
    for field, x, y in zip(a._fields, a, b, strict=True):
        np.testing.assert_array_equal(x, y, err_msg=field, strict=isinstance(x, np.ndarray))


@pytest.mark.parametrize("epsilon, temperature", [(0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (0.0, 2.0)])
def test_collect_under_masks_takes_legal_actions_only_and_returns_masks_of_each_observation(
    epsilon, temperature
):
    steps, _ = in_mines([3, 4]).collect([0], exploring(epsilon, 200, temperature))  # a step on a mine raises
    legal = np.take_along_axis(steps.legal, steps.action[..., np.newaxis], axis=-1)
    assert legal.all() and not steps.legal.all()
    follows = ~steps.truncated[:-1]
    np.testing.assert_array_equal(steps.next_legal[:-1][follows], steps.legal[1:][follows])
    assert (steps.next_legal[:-1][~follows] != steps.legal[1:][~follows]).any()
    if not (epsilon or temperature):
        values = np.where(steps.legal, steps.observation[..., :1] * SLOPES, -np.inf)
        np.testing.assert_array_equal(steps.action, values.argmax(axis=-1))


def test_collect_under_masks_explores_the_same_however_many_environments_there_are():
    together, _ = in_mines([3, 4, 5]).collect([0], exploring(0.5, 100))
    alone, _ = in_mines([4], 1).collect([0], exploring(0.5, 100))
    assert_equal(alone, together._make(column[:, 1:2] for column in together))


def test_replay_under_masks_goes_on_as_if_nothing_had_been():
    acting, other = in_mines([3, 4, 5]), in_mines([3, 4, 5])
    for _ in range(3):
        played(acting, 6)
    for _ in other.replay(acting.unfinished()):
        pass
    assert_equal(other.unfinished(), acting.unfinished())
    steps, steps_too = (played(one, 20) for one in (acting, other))
    assert_equal(steps_too, steps)


def test_uniform_among_legal_actions_is_that():
    legal = np.array([[0, 1, 0, 1, 1, 0, 0]] * 6, bool)
    fraction = np.array([0, 0.333, 0.334, 0.666, 0.667, np.nextafter(1, 0)])
    np.testing.assert_array_equal(choice.uniform(legal, fraction), np.int32([1, 1, 3, 3, 4, 4]), strict=True)
    numbers = np.arange(1, 4097)
    last = choice.uniform(np.tri(4096, dtype=bool), np.full(4096, np.nextafter(1, 0)))
    np.testing.assert_array_equal(last, numbers - 1)  # never one more
