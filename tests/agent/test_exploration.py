"""Explorations by name."""

import numpy as np
import pytest

from dqn_tf.agent import actor, exploration
from dqn_tf.config import settings
from tests.agent import test_actor


def explored(env_steps, num_steps, numbers, **values):
    values = {"num_envs": 4, "learning_starts": 100, "epsilon_decay_env_steps": 1000, **values}
    return exploration.explored(settings.build(values), env_steps, num_steps, numbers)


def test_linear_epsilon_is_1_until_learning_starts_and_falls_with_the_env_steps_of_all_environments():
    found = explored(92, 4, range(2), epsilon_initial=1.0, epsilon_final=0.0)
    np.testing.assert_allclose(found.epsilon, [[1.0] * 2, [1.0] * 2, [0.9] * 2, [0.896] * 2])
    assert (found.temperature, found.noise_seed) == (0.0, None)


def test_ape_x_gives_each_environment_of_the_run_an_epsilon_for_ever():
    expected = [0.4, 0.4 ** (1 + 7 / 3), 0.4 ** (1 + 14 / 3), 0.4**8]
    found = explored(5000, 2, range(4), exploration="ape_x")
    np.testing.assert_allclose(found.epsilon, [expected] * 2)
    np.testing.assert_allclose(explored(5000, 1, range(2, 4), exploration="ape_x").epsilon, [expected[2:]])


def test_noise_is_of_the_step_of_the_run_whatever_the_environments():
    whole = explored(400, 3, range(4), noisy=True).noise_seed
    assert explored(404, 2, range(2, 4), noisy=True).noise_seed == whole[1:]
    assert len(set(whole)) == 3


class Known:
    """A Policy of given values."""

    def __init__(self, values):
        self._values = np.float32(values)

    def load(self, weights):
        pass

    def values(self, observation):
        return np.tile(self._values, (len(observation), 1))


def played(numbers, temperature, values=(0.0, 1.0, 2.0), num_steps=4000):
    script = test_actor.Script(np.zeros((num_steps, len(numbers))))
    acting = actor.Actor(script, Known(values), len(values), numbers, test_actor.generators(*numbers))
    acting.restart([0] * len(numbers))
    epsilon = np.zeros((num_steps, len(numbers)))
    epsilon[::3, 0] = 1  # the others act on in steps in which the first one explores
    return acting.collect([0], exploration.Explored(epsilon, temperature))[0].action


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_boltzmann_draws_actions_by_the_softmax_of_their_values(temperature):
    action = played([1, 2], temperature)[:, 1]
    p = np.exp(np.arange(3) / temperature)
    p /= p.sum()
    counts = np.bincount(action, minlength=3)
    assert (np.abs(counts - len(action) * p) < 4 * np.sqrt(len(action) * p * (1 - p))).all()


def test_boltzmann_of_an_environment_does_not_depend_on_others():
    np.testing.assert_array_equal(played([1, 7, 5], 1.0)[:, 1:], played([9, 7, 5], 1.0)[:, 1:])
    alone = played([9, 7], 1.0)[:, 1]
    np.testing.assert_array_equal(played([1, 7, 5], 1.0)[:, 1], alone)
