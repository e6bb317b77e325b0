"""A trained network acts on observations as the environment gives them: one, or a batch."""

from typing import Any

import numpy as np
from gymnasium import spaces

from dqn_tf.agent import choice
from dqn_tf.agent.policies import Policy
from dqn_tf.config import user_code
from dqn_tf.environment import action_mask, action_numbers
from dqn_tf.environment.instance import check_numbers, is_array
from dqn_tf.environment.spec import EnvironmentSpec


def act(policy: Policy, spec: EnvironmentSpec, observation: Any, mask: Any = None) -> Any:
    """Returns the greedy action for an observation as an int, or for a batch of N as <int64>[N].

    Actions are the environment's own: those of MultiDiscrete and MultiBinary spaces are arrays, [*shape] or
    [N, *shape]. An observation is what its space holds; a batch of them has one more axis in front, in every part of a
    Dict or Tuple, or is a list of observations.

    Args:
      mask: [A], or [N, A] for a batch: 1 for each action that is legal, as in info["action_mask"]. None: all are.
    Raises:
      ValueError: the observation does not fit its space, or the mask the actions.
    """
    try:
        is_one = _is_one(spec.observation_space, observation)
        given = [observation] if is_one else _split(spec.observation_space, observation)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise _misfit(spec.observation_space, error) from None
    if not len(given):
        return action_numbers.own(spec.action_space, np.empty(0, np.int64))
    legal = None if mask is None else _legal([mask] if is_one else mask, (len(given), spec.num_actions))
    number = choice.greedy(policy.values(_encoded(spec, given)), legal)
    own = action_numbers.own(spec.action_space, number)
    if not is_one:
        return own
    return int(own[0]) if isinstance(spec.action_space, spaces.Discrete) else own[0]


def _legal(masks, shape):
    try:
        if len(masks) != shape[0]:
            raise ValueError(f"there are {len(masks)} masks for {shape[0]} observations")
        legal = np.stack([action_mask.legal(one, shape[1:]) for one in masks])
    except (ValueError, TypeError) as error:
        raise ValueError(f"the mask does not fit the actions: {user_code.line(error)}") from None
    if not legal.any(axis=-1).all():
        raise ValueError("the mask has no legal action")
    return legal


def _encoded(spec, observations):
    """Returns a batch as the network takes it, [N, *obs]. Raises ValueError if one does not fit its space."""
    space = spec.observation_space
    try:
        if is_array(space):
            seen = np.asarray(observations)
            check_numbers(space, seen)
        else:
            for one in observations:
                check_numbers(space, one)
            seen = np.stack([spaces.flatten(space, one) for one in observations])
        if seen.shape[1:] != spec.observation_shape:
            raise ValueError(f"its shape is {seen.shape[1:]}, that of the space is {spec.observation_shape}")
        return seen.astype(spec.observation_dtype)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise _misfit(space, error) from None


def _misfit(space, error):
    return ValueError(f"the observation does not fit {user_code.line(space)[:200]}: {user_code.line(error)}")


def _is_one(space, observation):
    """Returns whether this is one observation, not a batch."""
    if isinstance(space, spaces.Dict):
        if not isinstance(observation, dict):
            return False
        name, part = next(iter(space.spaces.items()))
        return name not in observation or _is_one(part, observation[name])
    if isinstance(space, spaces.Tuple):
        is_tuple = isinstance(observation, tuple) and len(observation) == len(space.spaces)
        return is_tuple and _is_one(space.spaces[0], observation[0])
    return np.ndim(observation) <= len(space.shape)


def _split(space, observation):
    """Returns the observations of a batch."""
    if isinstance(observation, list):
        return observation
    if isinstance(space, spaces.Dict) and isinstance(observation, dict):
        parts = {name: _split(part, observation[name]) for name, part in space.spaces.items() if name in observation}
        return [dict(zip(parts, one, strict=True)) for one in zip(*parts.values(), strict=True)]
    if isinstance(space, spaces.Tuple) and isinstance(observation, tuple):
        parts = [_split(part, given) for part, given in zip(space.spaces, observation, strict=False)]
        return list(zip(*parts, strict=True))
    return observation if is_array(space) else list(observation)
