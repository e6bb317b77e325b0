"""The interface of environments, and what the program knows of one."""

import dataclasses
import difflib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces

from dqn_tf.config import schema
from dqn_tf.config.user_code import UserCodeFailure, import_module, line, module_of
from dqn_tf.environment import action_numbers, minatar

# Returns the seed, in [0, 2**31), of an episode by its number, from 0. It can be pickled.
EpisodeSeeds = Callable[[int], int]


class EnvironmentFailure(UserCodeFailure):
    """An environment has raised, or returned something invalid; the message names episode and step."""


class EnvironmentLost(Exception):
    """The process of an environment is gone; the message names it."""


@dataclasses.dataclass(frozen=True)
class EnvironmentSpec:
    """What the program knows of an environment.

    Attributes:
      env_id: as given, EnvId, module:EnvId or module:function.
      observation_space: the environment's own, before flattening.
      observation_shape: of one observation after flattening.
      observation_dtype: uint8 or float32.
      action_space: an equal one of gymnasium's own class; the agent's actions are numbers, see action_numbers.py.
      reward_threshold: the environment counts as solved from this mean return on, None if it has no threshold.
      max_episode_steps: episodes are truncated after so many steps, None if they are not.
      frames_per_step: emulator frames of one env step, None if there is no emulator.
      has_masks: the environment tells which actions are legal, see action_mask.py.
    """

    env_id: str
    observation_space: gymnasium.Space
    observation_shape: tuple[int, ...]
    observation_dtype: np.dtype
    action_space: action_numbers.Actions
    reward_threshold: float | None
    max_episode_steps: int | None
    frames_per_step: int | None = None
    has_masks: bool = False

    @property
    def num_actions(self) -> int:
        """Returns A: the agent's actions are 0 to A - 1."""
        return action_numbers.count(self.action_space)

    @property
    def mask_nbytes(self) -> int:
        """Returns the bytes of one mask of A bits, 0 without masks."""
        return -(-self.num_actions // 8) if self.has_masks else 0

    @property
    def observation_scale(self) -> float:
        """Returns the factor for observations in a network, which scales images to [0, 1]."""
        is_bytes = self.observation_dtype == np.uint8
        return 1.0 / max(float(np.max(self.observation_space.high)), 1.0) if is_bytes else 1.0

    def spaces(self) -> dict[str, str]:
        """Returns the spaces in words, without bounds that do not matter to a network."""
        masks = " with action masks" if self.has_masks else ""
        return {"observations": _in_words(self.observation_space), "actions": _in_words(self.action_space) + masks}


class Step(NamedTuple):
    """One step of N environments. No array is written to by a later step.

    Attributes:
      next_observation: [N, *obs] after the action; where the episode ended, its last observation.
      reward: <float32>[N]
      terminated: <bool>[N] no reward follows: the episode ended or, if a protocol says so, a life was lost.
      truncated: <bool>[N] a time limit cut the episode here.
      ended: <bool>[N] the episode is over, and another has started.
      observation: [N, *obs] to act on next; where the episode ended, the first of a new one. The same array as
        next_observation if no episode ended.
      action: <int32>[N] the actions taken: those given, or FIRE if a game waits for it.
      next_legal, legal: None: there are no masks. See MaskedStep.
    """

    next_observation: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    ended: np.ndarray
    observation: np.ndarray
    action: np.ndarray
    next_legal = None
    legal = None


class MaskedStep(NamedTuple):
    """A Step of environments with action masks: the columns of Step, and two more.

    Attributes:
      next_legal: <bool>[N, A] actions that are legal in next_observation. No row is empty: where an episode ended
        without a legal action, all are.
      legal: <bool>[N, A] those of `observation`.
    """

    next_observation: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    ended: np.ndarray
    observation: np.ndarray
    action: np.ndarray
    next_legal: np.ndarray
    legal: np.ndarray


class Environment(Protocol):
    """N environments of one kind, stepped together.

    Attributes:
      spec: what the program knows of it.
      num_envs: N.
      legal: <bool>[N, A] actions that are legal in the observations to act on next, None without masks.
    """

    spec: EnvironmentSpec
    num_envs: int
    legal: np.ndarray | None

    def reset(self, seeds: Sequence[EpisodeSeeds], episodes: Sequence[int] | None = None) -> np.ndarray:
        """Starts a new episode in each environment and returns the first observations, [N, *obs].

        Args:
          seeds: of all episodes of each environment.
          episodes: numbers of the episodes that start now, 0 by default; later episodes count from there.
        """

    def step(self, action: np.ndarray) -> Step | MaskedStep:
        """Takes the actions <int32>[N], in [0, num_actions)."""

    def replay(self, actions: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, Step | MaskedStep]]:
        """Repeats actions after a `reset`. All environments take their last action in the last step.

        So an environment with fewer actions than others starts its episode later.

        Args:
          actions: <int32>[T_i] of each environment since its episode started.
        Yields:
          <bool>[N] which environments take part in the step, and the Step. Of the other environments only
          `observation` is valid, and only if they take part in the next step.
        """

    def render(self) -> Sequence[np.ndarray]:
        """Returns a picture <uint8>[H, W, 3] of each environment."""

    @property
    def frames_per_second(self) -> int:
        """Returns the speed of a video of the environment in real time."""

    def close(self) -> None:
        """Closes the environments with their threads or processes. May be called twice."""


def aligned(actions: Sequence[np.ndarray]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yields, for each step of Environment.replay, the steps left, the mask <bool>[N] and the actions <int32>[N]."""
    length = np.array([len(one) for one in actions])
    for left in range(length.max(initial=0), 0, -1):
        yield left, length >= left, np.array([one[-left] if len(one) >= left else 0 for one in actions], np.int32)


def registered(env_id: str) -> gymnasium.envs.registration.EnvSpec:
    """Returns gymnasium's registry entry, without the warnings of gymnasium.make. Raises ConfigError."""
    module, separator, name = env_id.rpartition(":")
    imported = import_module(f"--env={env_id}", module, name) if separator else None
    if schema.is_minatar(env_id):
        minatar.register(env_id)
    if name in gymnasium.registry:
        return gymnasium.registry[name]
    names = [other for other, entry in gymnasium.registry.items() if not _is_old_game(entry)]
    own = [other for other in names if module and _package(gymnasium.registry[other]) == module.partition(".")[0]]
    functions = [other for other, what in vars(imported).items() if callable(what)] if imported else []
    nearest = difflib.get_close_matches(name, [*names, *functions], n=2) or own[:5]
    if nearest:
        advice = f"did you mean {' or '.join(f'{separator and module + separator}{other}' for other in nearest)}?"
    elif separator:
        advice = f"importing {module} registers no environment, and it has no function {name}."
    elif os.path.exists(path := module_of(name).replace(".", "/")) or os.path.exists(f"{path}.py"):
        advice = f"it is a module: name what it registers too, such as --env={module_of(name)}:EnvId."
    else:
        advice = f"where a package registers it, name its module too, such as --env=my_package:{name or 'EnvId'}."
    raise schema.ConfigError(f"--env={env_id} is not a registered environment; {advice}")


def _package(entry):
    """Returns the top package of a registry entry's entry point."""
    maker = entry.entry_point
    return (maker if isinstance(maker, str) else getattr(maker, "__module__", "")).partition(":")[0].partition(".")[0]


def _is_old_game(entry):
    """Returns whether a registry entry is one of ALE's that atari.py refuses."""
    return str(entry.entry_point).startswith("ale_py") and not entry.id.startswith("ALE/")


def _in_words(space):
    if isinstance(space, spaces.Dict):
        return f"Dict({', '.join(f'{name!r}: {_in_words(part)}' for name, part in space.spaces.items())})"
    if isinstance(space, spaces.Tuple):
        return f"Tuple({', '.join(map(_in_words, space.spaces))})"
    if isinstance(space, spaces.Box):
        scale = f" up to {np.max(space.high)}" if space.dtype == np.uint8 else ""  # the network scales by it
        return f"Box({list(space.shape)}, {space.dtype}{scale})"
    return line(space)


def image_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns height and width of an image's shape [H, W], [H, W, C] or [C, H, W]."""
    return shape[1:] if is_channels_first(shape) else shape[:2]


def is_channels_first(shape: tuple[int, ...]) -> bool:
    """Returns whether `shape` is [C, H, W]: that is how ALE and gymnasium's wrappers stack frames."""
    return len(shape) == 3 and shape[0] < shape[2]


def stack_axis(shape: tuple[int, ...]) -> int | None:
    """Returns the axis of an image's shape along which frames are stacked, None for a single frame."""
    if len(shape) > 3 or is_channels_first(shape):
        return 0
    return 2 if len(shape) == 3 and shape[2] not in (1, 3) else None
