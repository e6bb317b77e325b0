"""One environment as its author wrote it, made to give what the rest of the program takes.

Whatever it gives is checked here, where the episode and the step are known: an environment is somebody's code.
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
from dqn_tf.environment.spec import EnvironmentFailure, EnvironmentSpec, EpisodeSeeds

_LARGEST = float(np.finfo(np.float32).max)


class Outcome(NamedTuple):
    """One step of one environment.

    Attributes:
      next_observation: [*obs] what the action led to: where the episode ended its last observation.
      reward: in the range of float32.
      terminated, truncated: gymnasium's.
      observation: [*obs] to act on next; the same array where the episode goes on, else the first of a new one.
    """

    next_observation: np.ndarray
    reward: float
    terminated: bool
    truncated: bool
    observation: np.ndarray


class Instance:
    """One environment: every episode has a seed of its own, and begins in the step that ends the one before."""

    def __init__(self, make: Callable[[], gymnasium.Env], spec: EnvironmentSpec, number: int):
        """Makes the environment; `begin` an episode before the first step.

        Args:
          number: of this environment among those of its kind, for messages.
        Raises:
          EnvironmentFailure: it cannot be made.
        """
        self._spec = spec
        self._number = number
        self._is_array = is_array(spec.observation_space)
        self._seeds: EpisodeSeeds | None = None
        self._episode = self._step = 0
        self._env = self._call(make)
        space = self._call(lambda: self._env.action_space)
        if space.n != spec.num_actions:
            raise self._failure(f"it has the action space {line(space)}, others have {spec.num_actions} actions")
        # In the space's own dtype: an int32 shifts and multiplies in other bits than the int64 of Discrete.
        self._actions = [space.dtype.type(space.start + number) for number in range(spec.num_actions)]

    def begin(self, seeds: EpisodeSeeds, episode: int) -> np.ndarray:
        """Begins an episode, whatever the one before has come to; returns its first observation, [*obs].

        Raises:
          EnvironmentFailure: the environment raises, or gives what it should not.
        """
        self._seeds, self._episode, self._step = seeds, episode, 0
        given = self._call(self._env.reset, seed=seeds(episode))
        if not (isinstance(given, tuple) and len(given) == 2):
            raise self._failure(f"reset returned {_shown(given)} instead of an observation and an info")
        return self._observed(given[0], "reset returned an observation")

    def step(self, action: int) -> Outcome:
        """Returns what an action in [0, num_actions) led to. Raises EnvironmentFailure, as `begin`."""
        self._step += 1
        try:  # as in `_call`, whose cost would be a tenth of a step of CartPole's
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
        observation = next_observation
        if terminated or truncated:
            observation = self.begin(self._seeds, self._episode + 1)
        return Outcome(next_observation, reward, terminated, truncated, observation)

    def render(self) -> Any:
        """Returns a picture, or whatever the environment gives in its place."""
        return self._call(self._env.render)

    def frames_per_second(self) -> int:
        """Returns the speed at which pictures show the environment as it is meant, 30 where it does not say."""
        return self._env.metadata.get("render_fps", 30)

    def close(self) -> str:
        """Ends the environment; returns what it has against that, "" for nothing: no result is lost by it."""
        try:
            self._env.close()
        except BaseException as error:  # noqa: B036 - as in `_call`
            return f"raised {told(error)}"
        return ""

    def _call(self, function, *args, **kwargs):
        """Returns what a function of the environment's gives; what it raises is told with its own traceback."""
        try:
            return function(*args, **kwargs)
        except BaseException as error:  # noqa: B036 - it may end the program, or be none of Python's own
            raise self._raised(getattr(function, "__name__", ""), error) from error

    def _raised(self, name, error):
        """Returns the failure of a function of the environment's that has raised; raises the user's Ctrl-C."""
        if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            raise error  # where a run handles signals it can only be the environment's
        what = f"{name} raised" if name in ("reset", "step", "render") else "it cannot be made:"
        return EnvironmentFailure.of(f"{self._where()}: {what}", error)

    def _failure(self, what):
        return EnvironmentFailure(f"{self._where()}: {what}")

    def _where(self):
        episode = f"environment {self._number}, episode {self._episode}, step {self._step}"
        return f"--env={self._spec.env_id}: {episode}"

    def _observed(self, given, what):
        """Returns an observation as the agent sees it, in an array of its own: environments write theirs again."""
        shape, dtype = self._spec.observation_shape, self._spec.observation_dtype
        if type(given) is np.ndarray and given.dtype == dtype and given.shape == shape and self._is_array:
            seen = given.copy()
            # The square of a large number may be infinite too; else this is exact, and much faster.
            if dtype.kind != "f" or math.isfinite(np.vdot(seen, seen)):
                return seen
        try:
            with np.errstate(all="ignore"):  # what has overflowed is told below
                seen = np.array(given, dtype) if self._is_array else self._flattened(given, dtype)
            if dtype == np.uint8 and getattr(given, "dtype", None) != np.uint8 and not np.array_equal(seen, given):
                raise ValueError("bytes cannot hold it")
        except Exception as error:  # whatever somebody's object has against being an array
            raise self._failure(f"{what} that does not fit its space: {_shown(given)}: {line(error)}") from error
        if seen.shape != shape:
            if seen.size != 1 or int(np.prod(shape)) != 1:  # a scalar for an array of one
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

    def _reward(self, given):
        reward = given
        if type(reward) is not float:
            try:
                reward = float(_one(given))
            except Exception:  # whatever somebody's object has against being a number
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
    """Returns whether observations are used as they come; all others are flattened."""
    return isinstance(space, spaces.Box) and space.shape != ()


def check_numbers(space, given):
    """Raises ValueError if a number is none of its space: gymnasium would take it for another one."""
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
    """Returns the number in `value`, which may be an array of one. Raises TypeError: text, nothing or several."""
    if isinstance(value, np.ndarray):
        value = value.item() if value.size == 1 else None
    if value is None or isinstance(value, str | bytes):
        raise TypeError
    return value


def _shown(value):
    """Returns a value of somebody's with its type, on one line that can be read."""
    text = line(repr(value))
    return f"{text if len(text) <= 80 else text[:77] + '...'} ({type(value).__name__})"
