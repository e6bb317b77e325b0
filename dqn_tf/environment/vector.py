"""N Gymnasium environments stepped together, every step of every environment a real one.

An episode starts in the step that ends the one before (gymnasium calls it SAME_STEP), so env step counts are exact, and
environment i depends on its own seeds only. Why gymnasium's own vector environments are not used is in docs/design.md.
"""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Sequence

import gymnasium
import numpy as np
from gymnasium import spaces

from dqn_tf.config import schema, user_code
from dqn_tf.environment import action_numbers, pool
from dqn_tf.environment.instance import Instance, Outcome, is_array
from dqn_tf.environment.maker import Maker
from dqn_tf.environment.spec import EnvironmentSpec, EpisodeSeeds, MaskedStep, Step, aligned

_log = logging.getLogger(__name__)


def describe(
    maker: Maker, play: Callable[[gymnasium.Env, EnvironmentSpec], EnvironmentSpec] = lambda environment, made: made
) -> EnvironmentSpec:
    """Makes an environment, returns its spec, and closes it.

    Args:
      play: called with the environment before it is closed; returns the spec with what only playing shows: has_masks.
    Raises:
      config.ConfigError: there is no such environment, it cannot be made, or DQN cannot learn it.
    """
    make, called = maker.maker(), maker.called
    try:
        environment = make()
    except gymnasium.error.DependencyNotInstalled as error:
        raise schema.ConfigError(f"{called} needs a package that is not installed: {user_code.line(error)}") from error
    except (Exception, SystemExit) as error:  # of the user's code: any exception is a mistake in --env
        raise schema.ConfigError(f"{called} cannot be made: {user_code.told(error)}{user_code.place(error)}") from error
    try:
        made = play(environment, _spec(maker, environment))
    except AttributeError as error:
        raise schema.ConfigError(f"{called} has no spaces: {user_code.told(error)}{user_code.place(error)}") from error
    finally:
        with contextlib.suppress(Exception, SystemExit):  # does not matter here
            environment.close()
    return made


def _spec(maker, environment):
    action_space, observation_space = environment.action_space, environment.observation_space
    _check_spaces(maker.env_id, action_space, observation_space)
    shape, dtype = _observation_shape_and_dtype(observation_space)
    registered = maker.registered() or getattr(environment, "spec", None)
    limit = maker.kwargs.tree.get("max_episode_steps", getattr(registered, "max_episode_steps", None))
    return EnvironmentSpec(
        env_id=maker.env_id,
        observation_space=observation_space,
        observation_shape=shape,
        observation_dtype=dtype,
        action_space=action_numbers.plain(action_space),
        reward_threshold=getattr(registered, "reward_threshold", None),
        max_episode_steps=None if limit == -1 else limit,  # gymnasium: no limit
    )


class VectorEnvironment:
    """N environments of one kind, stepped together. See spec.Environment.

    Attributes:
      spec: the result of `describe`.
      num_envs: N.
      legal: <bool>[N, A] actions that are legal in the observations to act on next, None without masks.
    """

    def __init__(
        self,
        maker: Maker,
        num_envs: int,
        vectorization: str = "sync",
        render_mode: str | None = None,
        first_number: int = 0,
        made: EnvironmentSpec | None = None,
    ):
        """Makes the environments; call `reset` before the first step.

        Args:
          vectorization: sync steps the environments in turn, async in one process each.
          render_mode: gymnasium's; rgb_array for `render`.
          first_number: number of the first environment in the run, for messages.
          made: an earlier result of `describe`; else it is called here, nothing is played, and masks are not used.
        Raises:
          config.ConfigError: as `describe`.
          spec.EnvironmentFailure: one cannot be made.
        """
        self.spec = made or describe(maker)
        self.num_envs = num_envs
        make = maker.maker(render_mode)
        makers = [functools.partial(Instance, make, self.spec, first_number + i) for i in range(num_envs)]
        self.legal: np.ndarray | None = None
        self._observation = None  # [N, *obs] to act on next
        self._pool = pool.Processes(makers, first_number) if vectorization == "async" else pool.Here(makers)

    def reset(self, seeds: Sequence[EpisodeSeeds], episodes: Sequence[int] | None = None) -> np.ndarray:
        if episodes is None:
            episodes = [0] * self.num_envs
        arguments = [(one, int(episode)) for one, episode in zip(seeds, episodes, strict=True)]
        observation, legal = zip(*self._pool.call("begin", arguments), strict=True)
        self._observation, self.legal = np.stack(observation), np.stack(legal) if self.spec.has_masks else None
        return self._observation

    def step(self, action: np.ndarray) -> Step | MaskedStep:
        return self._joined(self._pool.call("step", [(number,) for number in action.tolist()]), action)

    def replay(self, actions: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, Step | MaskedStep]]:
        for _, playing, action in aligned(actions):
            arguments = [(number,) if plays else None for number, plays in zip(action.tolist(), playing, strict=True)]
            outcomes = self._pool.call("step", arguments)
            masks = self.legal if self.spec.has_masks else [None] * self.num_envs
            shown = zip(self._observation, masks, strict=True)
            idle = (Outcome(one, 0.0, False, False, one, legal, legal) for one, legal in shown)
            outcomes = [outcome or one for outcome, one in zip(outcomes, idle, strict=True)]
            yield playing, self._joined(outcomes, action)

    def _joined(self, outcomes, action):
        """Returns the Step of all environments from their outcomes."""
        next_observation, reward, terminated, truncated, observation, next_legal, legal = zip(*outcomes, strict=True)
        next_observation, terminated, truncated = np.stack(next_observation), np.array(terminated), np.array(truncated)
        ended = terminated | truncated
        self._observation = np.stack(observation) if ended.any() else next_observation
        reward = np.array(reward, np.float32)
        step = Step(next_observation, reward, terminated, truncated, ended, self._observation, action)
        if not self.spec.has_masks:
            return step
        next_legal = np.stack(next_legal)
        self.legal = np.stack(legal) if ended.any() else next_legal
        return MaskedStep(*step, next_legal, self.legal)

    def render(self) -> Sequence[np.ndarray]:
        return self._pool.call("render", [()] * self.num_envs)

    @property
    def frames_per_second(self) -> int:
        return self._pool.call("frames_per_second", [()] + [None] * (self.num_envs - 1))[0]

    def close(self) -> None:
        for complaint in self._pool.close():
            _log.warning("--env=%s: close %s", self.spec.env_id, complaint)


def _check_spaces(env_id, action_space, observation_space):
    if not isinstance(action_space, action_numbers.Actions):
        is_continuous = isinstance(action_space, spaces.Box) and action_space.dtype.kind == "f"
        kind = "a continuous" if is_continuous else "an"
        raise schema.ConfigError(
            f"--env={env_id} has {kind} action space {_shown(action_space)}; DQN needs a Discrete, MultiDiscrete or "
            "MultiBinary one."
        )
    num_actions, most = action_numbers.count(action_space), action_numbers.MOST
    if num_actions > most and not isinstance(action_space, spaces.Discrete):
        raise schema.ConfigError(
            f"--env={env_id} has an action space {_shown(action_space)} of {num_actions:,} combinations, and a network "
            f"has an output for each; at most {most:,} are supported."
        )
    if not _has_fixed_size(observation_space):
        raise schema.ConfigError(
            f"--env={env_id} has an observation space {_shown(observation_space)}; supported are Box, Discrete, "
            "MultiBinary, MultiDiscrete, and Dict and Tuple of these."
        )
    if not spaces.flatdim(observation_space):
        raise schema.ConfigError(
            f"--env={env_id} has an observation space {user_code.line(observation_space)} without a single number, and "
            "DQN needs something to see."
        )


def _shown(space):
    """Returns a space on one line; those of the old gym package look the same as gymnasium's."""
    module = type(space).__module__.split(".")[0]
    return user_code.line(space) + ("" if isinstance(space, spaces.Space) else f" of {module}, not gymnasium's")


def _has_fixed_size(space):
    if isinstance(space, spaces.Dict):
        return all(map(_has_fixed_size, space.spaces.values()))
    if isinstance(space, spaces.Tuple):
        return all(map(_has_fixed_size, space.spaces))
    return isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiBinary | spaces.MultiDiscrete)


def _observation_shape_and_dtype(space):
    is_bytes = isinstance(space, spaces.Box) and space.dtype in (np.uint8, np.bool_)
    shape = space.shape if is_array(space) else (spaces.flatdim(space),)
    return shape, np.dtype(np.uint8 if is_bytes else np.float32)
