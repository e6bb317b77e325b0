"""Action masks on their way from an environment's info to the steps of several."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from dqn_tf.config import schema
from dqn_tf.environment import maker, probe, spec, vector
from tests.environment.scripted import assert_plays_again, seeds

MINES = maker.Maker("tests.environments:Mines-v0")


class Tells(gymnasium.Env):
    """Tells the masks that it is given, one after the other, and ends after as many steps as `length` says."""

    def __init__(self, masks, length=9, actions=spaces.Discrete(3)):
        self.observation_space, self.action_space = spaces.Discrete(2), actions
        self._masks, self._length, self.actions = iter(masks), length, []

    def reset(self, *, seed=None, options=None):
        self._step = 0
        return 0, self._info()

    def step(self, action):
        self._step += 1
        self.actions.append(action)
        return 0, 0.0, self._step == self._length, False, self._info()

    def _info(self):
        mask = next(self._masks)
        return {} if mask is None else {"action_mask": mask}


def telling(masks, length=9, actions=spaces.Discrete(3)):
    """Returns a VectorEnvironment of one Tells, and what it is told."""
    space, shape, dtype = spaces.Discrete(2), (2,), np.dtype(np.float32)
    made = spec.EnvironmentSpec("Tells-v0", space, shape, dtype, actions, None, None, has_masks=True)

    class Tellers:
        def maker(self, *_):
            return lambda: Tells(masks, length, actions)

    return vector.VectorEnvironment(Tellers(), 1, made=made)


def rollout(environment, numbers, num_steps):
    """Returns the first observation, all Steps, and the actions <int32>[T, N], of which each is the last legal one."""
    first, steps, actions = environment.reset(seeds(*numbers)), [], []
    for _ in range(num_steps):
        legal = environment.legal
        actions.append((legal.shape[1] - 1 - legal[:, ::-1].argmax(axis=1)).astype(np.int32))
        steps.append(environment.step(actions[-1]))
    return first, steps, np.stack(actions)


def test_describe_of_an_environment_that_masks_finds_that():
    made = probe.describe(MINES)
    assert made.has_masks and (made.num_actions, made.mask_nbytes) == (6, 1)
    assert made.spaces()["actions"] == "MultiDiscrete([2 3], start=[0 5]) with action masks"
    assert not probe.describe(maker.Maker("CartPole-v1")).has_masks
    (taxi,) = (name for name in gymnasium.registry if name.startswith("Taxi-"))
    assert probe.describe(maker.Maker(taxi)).has_masks


def test_describe_of_an_environment_that_masks_tries_legal_actions_only(monkeypatch):
    class Picky(Tells):
        def step(self, action):
            assert action == 1
            return super().step(action)

    entry = gymnasium.envs.registration.EnvSpec("Picky-v0", entry_point=Picky, kwargs={"masks": [[0, 1, 0]] * 9})
    monkeypatch.setitem(gymnasium.registry, "Picky-v0", entry)
    assert probe.describe(maker.Maker("Picky-v0")).has_masks


@pytest.mark.parametrize("mask", [np.int8([0, 1, 1]), [0.0, 1, True], np.array([False, True, True])])
def test_mask_of_any_type_is_taken(mask):
    environment = telling([mask] * 2)
    environment.reset(seeds(0))
    step = environment.step(np.int32([1]))
    for legal in (step.legal, step.next_legal, environment.legal):
        np.testing.assert_array_equal(legal, [[False, True, True]], strict=True)


def test_mask_of_each_entry_of_an_action_allows_their_combinations():
    mask = (np.int8([1, 0]), np.int8([1, 1, 0]))  # as spaces.MultiDiscrete([2, 3]).sample takes it
    environment = telling([mask] * 2, actions=spaces.MultiDiscrete([2, 3]))
    environment.reset(seeds(0))
    np.testing.assert_array_equal(environment.legal, [[True, True, False, False, False, False]], strict=True)


ILL = [
    (None, " returned an info without action_mask, which it had before: {} (dict)"),
    ([1, 1], " returned the action_mask [1, 1] (list): its shape is [2], not [3]"),
    ([1, 0, 2], " returned the action_mask [1, 0, 2] (list): it has other values than 0 and 1"),
    ([1, float("nan"), 0], " returned the action_mask [1, nan, 0] (list): it has other values than 0 and 1"),
    ([0, 0, 0], " returned an action_mask without a legal action"),
]


@pytest.mark.parametrize(("mask", "said"), ILL)
def test_mask_that_cannot_be_used_is_told_with_episode_and_step(mask, said):
    where = "--env=Tells-v0: environment 0, episode"
    with pytest.raises(spec.EnvironmentFailure) as raised:
        telling([mask]).reset(seeds(0))
    assert str(raised.value) == f"{where} 0, step 0: reset{said}"
    environment = telling([[1, 1, 1]] * 4 + [mask], length=2)
    environment.reset(seeds(0))
    with pytest.raises(spec.EnvironmentFailure) as raised:
        for _ in range(3):
            environment.step(np.int32([0]))
    assert str(raised.value) == f"{where} 1, step 1: step{said}"


def test_mask_of_the_last_observation_is_told_from_that_of_the_next_episode_and_an_empty_one_is_full():
    for last, expected in (([0, 0, 1], [[False, False, True]]), ([0, 0, 0], [[True, True, True]])):
        environment = telling([[1, 0, 0], last, [0, 1, 0]], length=1)
        environment.reset(seeds(0))
        step = environment.step(np.int32([0]))
        np.testing.assert_array_equal(step.next_legal, expected)
        np.testing.assert_array_equal(step.legal, [[False, True, False]])


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_masks_of_episodes_that_are_played_again_are_the_same(vectorization):
    made = probe.describe(MINES)
    played = vector.VectorEnvironment(MINES, 3, made=made)
    first, steps, actions = rollout(played, [3, 4, 5], 13)
    environment = vector.VectorEnvironment(MINES, 3, vectorization, made=made)
    assert_plays_again(environment, [3, 4, 5], (first, steps), actions, 8)
    environment.close()


def test_step_of_a_space_of_several_entries_gives_the_environment_its_array():
    space = spaces.MultiDiscrete([[2, 2], [1, 2]], start=[[0, 4], [0, 0]], dtype=np.int16)
    environment = telling([[1] * 8] * 2, actions=space)
    environment.reset(seeds(0))
    environment.step(np.int32([6]))  # 6 = 1 * 4 + 1 * 2 + 0
    (action,) = environment._pool._instances[0]._env.actions
    np.testing.assert_array_equal(action, np.int16([[1, 5], [0, 0]]), strict=True)


def test_describe_of_more_combinations_than_a_network_can_have_outputs_is_refused(monkeypatch):
    for actions, number in ((spaces.MultiBinary(12), None), (spaces.MultiDiscrete([64, 65]), "4,160")):
        entry = gymnasium.envs.registration.EnvSpec(
            "Many-v0", entry_point=Tells, kwargs={"masks": [None] * 9, "actions": actions}
        )
        monkeypatch.setitem(gymnasium.registry, "Many-v0", entry)
        if number is None:
            assert probe.describe(maker.Maker("Many-v0")).num_actions == 4096
            continue
        with pytest.raises(schema.ConfigError) as raised:
            probe.describe(maker.Maker("Many-v0"))
        assert str(raised.value) == (
            f"--env=Many-v0 has an action space MultiDiscrete([64 65]) of {number} combinations, and a network has an "
            "output for each; at most 4,096 are supported."
        )
