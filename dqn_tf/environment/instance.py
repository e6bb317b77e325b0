"""Wraps one environment: checks and converts all that it returns.

Errors in an environment are found here, where episode and step are known.
"""

import contextlib
import math
import signal
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces

from dqn_tf.config.user_code import line, told
from dqn_tf.environment import action_mask, action_numbers
from dqn_tf.environment.spec import EnvironmentFailure, EnvironmentSpec, EpisodeSeeds

_LARGEST = float(np.finfo(np.float32).max)


class Outcome(NamedTuple):
    """One step of one environment.

    Attributes:
      next_observation: [*obs] after the action; if the episode ended, its last observation.
      reward: in the range of float32.
      terminated, truncated: gymnasium's.
      observation: [*obs] to act on next: the same array, or, if the episode ended, the first of a new one.
      next_legal, legal: <bool>[A] actions that are legal in these, None without masks; see spec.Step.
    """

    next_observation: np.ndarray
    reward: float
    terminated: bool
    truncated: bool
    observation: np.ndarray
    next_legal: np.ndarray | None = None
    legal: np.ndarray | None = None


class Instance:
    """One environment. Each episode has its own seed, and starts in the step that ends the episode before.

    Attributes:
      gives_mask: whether the info of the last reset had an action mask.
    """

    def __init__(self, make: Callable[[], gymnasium.Env], spec: EnvironmentSpec, number: int):
        """Makes the environment; call `begin` before the first step.

        Args:
          number: of this environment in the run, for messages.
        Raises:
          EnvironmentFailure: it cannot be made.
        """
        self._spec = spec
        self._number = number
        self._is_array = is_array(spec.observation_space)
        self._seeds: EpisodeSeeds | None = None
        self._episode = self._step = 0
        self._has_masks, self._num_actions = spec.has_masks, spec.num_actions
        self.gives_mask = False
        self._env = self._call(make)
        space = self._call(lambda: self._env.action_space)
        if action_numbers.count(space) != spec.num_actions:
            raise self._failure(f"it has the action space {line(space)}, others have {spec.num_actions} actions")
        self._actions = action_numbers.table(space)

    def begin(self, seeds: EpisodeSeeds, episode: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Starts an episode, also in the middle of another.

        Returns:
          Its first observation, [*obs], and what is legal then, <bool>[A]; None without masks.
        Raises:
          EnvironmentFailure: the environment raises, or returns something invalid.
        """
        self._seeds, self._episode, self._step = seeds, episode, 0
        given = self._call(self._env.reset, seed=seeds(episode))
        if not (isinstance(given, tuple) and len(given) == 2):
            raise self._failure(f"reset returned {_shown(given)} instead of an observation and an info")
        self.gives_mask = action_mask.is_in(given[1])
        legal = self._legal("reset", given[1]) if self._has_masks else None
        return self._observed(given[0], "reset returned an observation"), legal

    def step(self, action: int) -> Outcome:
        """Takes an action in [0, num_actions). Raises EnvironmentFailure, as `begin`."""
        self._step += 1
        try:  # not by `_call`, which would make a step of CartPole a tenth slower
            given = self._env.step(self._actions[action])
        except BaseException as error:  # noqa: B036
            raise self._raised("step", error) from error
        if not (isinstance(given, tuple) and len(given) == 5):
            raise self._failure(
                f"step returned {_shown(given)} instead of observation, reward, terminated, truncated and info"
            )
        next_observation = self._observed(given[0], "step returned an observation")
        reward = self._reward(given[1])
        terminated, truncated = self._flag("terminated", given[2]), self._flag("truncated", given[3])
        is_over = terminated or truncated
        observation = next_observation
        next_legal = legal = self._legal("step", given[4], is_over) if self._has_masks else None
        if is_over:
            observation, legal = self.begin(self._seeds, self._episode + 1)
        return Outcome(next_observation, reward, terminated, truncated, observation, next_legal, legal)

    def render(self) -> Any:
        """Returns a picture, or what the environment returns instead."""
        return self._call(self._env.render)

    def frames_per_second(self) -> int:
        """Returns the speed of a video of the environment in real time, 30 if it does not tell."""
        return self._env.metadata.get("render_fps", 30)

    def close(self) -> str:
        """Closes the environment; returns its error as text, "" if there is none: no result depends on it."""
        try:
            self._env.close()
        except BaseException as error:  # noqa: B036 - as in `_call`
            return f"raised {told(error)}"
        return ""

    def _call(self, function, *args, **kwargs):
        """Calls a function of the environment; raises EnvironmentFailure for any exception."""
        try:
            return function(*args, **kwargs)
        except BaseException as error:  # noqa: B036 - also SystemExit, and exceptions of native code
            raise self._raised(getattr(function, "__name__", ""), error) from error

    def _raised(self, name, error):
        """Returns the failure for an exception of the environment; raises the user's Ctrl-C again."""
        if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            raise error  # a run with handlers of its own gets no KeyboardInterrupt from the user
        what = f"{name} raised" if name in ("reset", "step", "render") else "it cannot be made:"
        return EnvironmentFailure.of(f"{self._where()}: {what}", error)

    def _failure(self, what):
        return EnvironmentFailure(f"{self._where()}: {what}")

    def _where(self):
        episode = f"environment {self._number}, episode {self._episode}, step {self._step}"
        return f"--env={self._spec.env_id}: {episode}"

    def _observed(self, given, what):
        """Returns a checked copy of an observation in the shape and dtype of the spec; environments reuse arrays."""
        shape, dtype = self._spec.observation_shape, self._spec.observation_dtype
        if type(given) is np.ndarray and given.dtype == dtype and given.shape == shape and self._is_array:
            seen = given.copy()
            # Much faster than isfinite on all elements. If squares overflow, the slow check below decides.
            if dtype.kind != "f" or math.isfinite(np.vdot(seen, seen)):
                return seen
        try:
            with np.errstate(all="ignore"):  # overflows are found below
                seen = np.array(given, dtype) if self._is_array else self._flattened(given, dtype)
            if dtype == np.uint8 and getattr(given, "dtype", None) != np.uint8 and not np.array_equal(seen, given):
                raise ValueError("bytes cannot hold it")
        except Exception as error:  # any error of the user's object
            raise self._failure(f"{what} that does not fit its space: {_shown(given)}: {line(error)}") from error
        if seen.shape != shape:
            if seen.size != 1 or int(np.prod(shape)) != 1:  # a scalar in place of an array of one element
                raise self._failure(f"{what} of shape {seen.shape}, its space has {shape}")
            seen = seen.reshape(shape)
        if dtype.kind == "f" and not np.isfinite(seen).all():
            index = tuple(map(int, np.argwhere(~np.isfinite(seen))[0]))
            raw = np.asarray(given)[index] if self._is_array and np.shape(given) == shape else seen[index]
            raise self._failure(f"{what} with {raw!r} at {list(index)}, which float32 cannot hold as a finite number")
        return seen

    def _flattened(self, given, dtype):
        check_numbers(self._spec.observation_space, given)
        return np.asarray(spaces.flatten(self._spec.observation_space, given), dtype)

    def _legal(self, name, info, is_over=False):
        """Returns <bool>[A] what is legal by an info that `name` returned."""
        if not action_mask.is_in(info):
            raise self._failure(f"{name} returned an info without action_mask, which it had before: {_shown(info)}")
        given = info[action_mask.KEY]
        try:
            legal = action_mask.legal(given, (self._num_actions,))
        except Exception as error:  # any error of the user's object
            raise self._failure(f"{name} returned the action_mask {_shown(given)}: {line(error)}") from error
        if not legal.any():
            if not is_over:
                raise self._failure(f"{name} returned an action_mask without a legal action")
            legal[:] = True
        return legal

    def _reward(self, given):
        reward = given
        if type(reward) is not float:
            try:
                reward = float(_one(given))
            except Exception:  # any error of the user's object
                raise self._failure(f"step returned the reward {_shown(given)}, which is not a number") from None
        if not -_LARGEST <= reward <= _LARGEST:
            raise self._failure(f"step returned the reward {reward}, which float32 cannot hold as a finite number")
        return reward

    def _flag(self, name, given):
        if given is True or given is False:
            return given
        with contextlib.suppress(Exception):
            flag = _one(given)
            if flag == 0 or flag == 1:
                return bool(flag)
        raise self._failure(f"step returned {_shown(given)} as {name}, which is neither true nor false")


def is_array(space: gymnasium.Space) -> bool:
    """Returns whether observations are used as they are; all others are flattened."""
    return isinstance(space, spaces.Box) and space.shape != ()


def check_numbers(space: gymnasium.Space, given: Any) -> None:
    """Raises ValueError if a number is not in its space: gymnasium would convert it to another number."""
    if isinstance(space, spaces.Dict):
        for name, part in space.spaces.items():
            check_numbers(part, given[name])
    elif isinstance(space, spaces.Tuple):
        for part, one in zip(space.spaces, given, strict=True):
            check_numbers(part, one)
    elif isinstance(space, spaces.Discrete):
        if not space.start <= given < space.start + space.n:
            raise ValueError(f"it is not in {line(space)}")
    elif isinstance(space, spaces.Box | spaces.MultiBinary) and space.dtype.kind in "iub":
        number = np.asarray(given)
        is_binary = isinstance(space, spaces.MultiBinary)
        if is_binary and not np.isin(number, (0, 1)).all() or not np.array_equal(number.astype(space.dtype), number):
            raise ValueError(f"it is not in {line(space)}")
    elif isinstance(space, spaces.MultiDiscrete):
        number = np.subtract(given, space.start)
        if np.shape(given) != space.shape or (number < 0).any() or (number >= space.nvec).any():
            raise ValueError(f"it is not in {line(space)}")


def _one(value):
    """Returns the number in `value`, also from an array of one element. Raises TypeError for text, None, and others."""
    if isinstance(value, np.ndarray):
        value = value.item() if value.size == 1 else None
    if value is None or isinstance(value, str | bytes):
        raise TypeError
    return value


def _shown(value):
    """Returns a value and its type on one short line."""
    text = line(repr(value))
    return f"{text if len(text) <= 80 else text[:77] + '...'} ({type(value).__name__})"
