"""Seeds of episodes, an environment that gives whatever a row of a table says, right or wrong, and its stand-in."""

import decimal
import functools
import os
import subprocess
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces

from dqn_tf.environment import spec


def seeds(*numbers: int) -> list[Callable[[int], int]]:
    """Returns, for an environment each, episode -> number + 100 * episode."""
    return [functools.partial(_seed, number) for number in numbers]


def _seed(number, episode):
    return number + 100 * episode


class Row(NamedTuple):
    """What an environment gives, by name, where it is not what it should give; and what is said of that, "" nothing."""

    given: dict[str, Any]
    said: str = ""


ZEROS = np.zeros(2, np.float32)
NOT_FINITE = "which float32 cannot hold as a finite number"
NOT_A_NUMBER = "which is not a number"
NO_FLAG = "which is neither true nor false"
NO_PAIR = "instead of an observation and an info"
NO_FIVE = "instead of observation, reward, terminated, truncated and info"

ROWS = [
    Row({}),
    # Rewards.
    Row({"reward": 1}),
    Row({"reward": np.float16(1)}),
    Row({"reward": np.array([1.0])}),
    Row({"reward": decimal.Decimal(1)}),
    Row({"reward": None}, f"step returned the reward None (NoneType), {NOT_A_NUMBER}"),
    Row({"reward": np.array(["1"])}, f"step returned the reward array(['1'], dtype='<U1') (ndarray), {NOT_A_NUMBER}"),
    Row({"reward": np.array([])}, f"step returned the reward array([], dtype=float64) (ndarray), {NOT_A_NUMBER}"),
    Row({"reward": 1 + 1j}, f"step returned the reward (1+1j) (complex), {NOT_A_NUMBER}"),
    Row({"reward": 10**400}, f"step returned the reward 1{'0' * 76}... (int), {NOT_A_NUMBER}"),
    Row({"reward": -np.array([np.inf])}, f"step returned the reward -inf, {NOT_FINITE}"),
    Row({"reward": 1e39}, f"step returned the reward 1e+39, {NOT_FINITE}"),
    # Flags.
    Row({"terminated": np.False_, "truncated": np.int8(0)}),
    Row({"terminated": np.array(False), "truncated": np.array([False])}),
    Row({"truncated": "False"}, f"step returned 'False' (str) as truncated, {NO_FLAG}"),
    Row({"truncated": np.array([0, 0])}, f"step returned array([0, 0]) (ndarray) as truncated, {NO_FLAG}"),
    # Infos: none is read.
    Row({"info": None}),
    Row({"info": {"final_obs": 1, "_reward": "x", "file": lambda: None}}),
    # Observations.
    Row({"observation": [0, 0]}),
    Row({"observation": (np.float64(0), np.array(0))}),
    Row({"observation": np.zeros(3)}, "step returned an observation of shape (3,), its space has (2,)"),
    Row({"observation": None}, "step returned an observation of shape (), its space has (2,)"),
    Row(
        {"observation": "ab"},
        "step returned an observation that does not fit its space: 'ab' (str): could not convert string to float: 'ab'",
    ),
    Row(
        {"observation": {"a": 1}},
        "step returned an observation that does not fit its space: {'a': 1} (dict): "
        "float() argument must be a string or a real number, not 'dict'",
    ),
    Row(
        {"observation": np.float32([0, np.nan])},
        f"step returned an observation with np.float32(nan) at [1], {NOT_FINITE}",
    ),
    Row({"first": np.zeros(3)}, "reset returned an observation of shape (3,), its space has (2,)"),
    Row({"first": [0, np.inf]}, f"reset returned an observation with np.float64(inf) at [1], {NOT_FINITE}"),
    # Answers of environments for older gyms.
    Row({"reset": ZEROS[:1]}, f"reset returned array([0.], dtype=float32) (ndarray) {NO_PAIR}"),
    Row({"reset": ([0, 0],)}, f"reset returned ([0, 0],) (tuple) {NO_PAIR}"),
    Row({"step": ([0, 0], 1.0, False, {})}, f"step returned ([0, 0], 1.0, False, {{}}) (tuple) {NO_FIVE}"),
    # Exceptions.
    Row({"raises in step": ValueError("no power\n  in the arm")}, "step raised ValueError: no power in the arm"),
    Row({"raises in step": SystemExit(3)}, "step raised SystemExit: 3"),
    Row({"raises in reset": RuntimeError("stuck")}, "reset raised RuntimeError: stuck"),
]
TAKEN = [number for number, row in enumerate(ROWS) if not row.said]
REFUSED = [number for number, row in enumerate(ROWS) if row.said]


class Giving(gymnasium.Env):
    """Gives what the row of the last two digits of its seed says."""

    metadata = {"render_modes": []}

    def __init__(self):
        self.observation_space = spaces.Box(-9, 9, (2,), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self._given = ROWS[seed % 100].given
        self._raise("reset")
        return self._given.get("reset", (self._given.get("first", ZEROS), {}))

    def step(self, action):
        self._raise("step")
        usual = {"observation": ZEROS, "reward": 1.0, "terminated": False, "truncated": False, "info": {}}
        return self._given.get("step", tuple(self._given.get(name, value) for name, value in usual.items()))

    def _raise(self, where):
        if f"raises in {where}" in self._given:
            raise self._given[f"raises in {where}"].with_traceback(None)  # a line of its author's


class Scripted:
    """Stands for an Instance: does what it is told."""

    def __init__(self, number, ill="", close=""):
        self._number, self._close = number, close
        if ill == "raises":
            raise spec.EnvironmentFailure(f"environment {number} cannot be made", "its trace")
        if ill == "leaves":
            os._exit(4)

    def add(self, value):
        return self._number + value

    def fail(self, message):
        if message:
            raise spec.EnvironmentFailure(f"environment {self._number}: {message}", "its trace")
        return self._number

    def pid(self):
        return os.getpid()

    def leave(self, code):
        os._exit(code)

    def wait(self):
        time.sleep(3600)

    def start_and_terminate_a_program(self):
        program = subprocess.Popen(["sleep", "60"])
        program.terminate()
        return program.wait()

    def close(self):
        if self._close == "waits":
            self.wait()
        return self._close


def makers(num: int, **others) -> list[Callable[[], Scripted]]:
    return [functools.partial(Scripted, number, **others) for number in range(num)]


def assert_plays_again(environment, numbers, played, actions, stop):
    """Asserts that the episodes under way after `stop` steps are played again and go on the same, byte for byte.

    Args:
      played: the first observation of environments with the seeds seeds(*numbers), and all Steps.
      actions: <int32>[T, N] that were given.
    """
    first, steps = played
    ended = np.stack([step.ended for step in steps[:stop]])
    lengths = np.array([np.argmax([*column[::-1], True]) for column in ended.T])
    observation = environment.reset(seeds(*numbers), ended.sum(axis=0))
    rows = environment.replay([actions[stop - length : stop, i] for i, length in enumerate(lengths)])
    begin = stop - lengths.max()
    for t in range(begin, stop):
        playing, step = next(rows)
        np.testing.assert_array_equal(playing, t >= stop - lengths)
        before = steps[t - 1].observation if t else first
        np.testing.assert_array_equal(observation[playing], before[playing])
        for field, x, y in zip(step._fields, step, steps[t], strict=True):
            np.testing.assert_array_equal(x[playing], y[playing], err_msg=field, strict=True)
        observation = step.observation
    assert next(rows, None) is None
    np.testing.assert_array_equal(observation, steps[stop - 1].observation)
    for action, expected in zip(actions[stop:], steps[stop:], strict=True):
        for field, x, y in zip(expected._fields, environment.step(action), expected, strict=True):
            np.testing.assert_array_equal(x, y, err_msg=field, strict=True)
