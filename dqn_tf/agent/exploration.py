"""How the actor explores. Every exploration is a function of env steps alone, so a resumed run explores alike."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dqn_tf.config import seeding
from dqn_tf.config.schema import Config


class Explored(NamedTuple):
    """What is explored in T steps of N environments.

    Attributes:
      epsilon: <float64>[T, N] probabilities of a random action.
      temperature: other actions are drawn from the softmax of their values over it, in return units; 0: the best is
        taken.
      noise_seed: of the noise of noisy layers in each step; None: there is none.
    """

    epsilon: np.ndarray
    temperature: float = 0.0
    noise_seed: Sequence[int] | None = None


def explored(config: Config, env_steps: int, num_steps: int, numbers: Sequence[int]) -> Explored:
    """Returns how the environments of these numbers explore in the next steps.

    Actions are random until --learning_starts, because nothing has been learned.

    Args:
      env_steps: of the run so far.
    """
    training, exploration = config.training, config.exploration
    counts = range(env_steps, env_steps + num_steps * training.num_envs, training.num_envs)
    epsilon_of = _EPSILONS[exploration.exploration]
    rows = [[1.0] * len(numbers) if n < training.learning_starts else epsilon_of(config, n, numbers) for n in counts]
    seeds = None
    if config.network.noisy:
        seeds = [seeding.integer(config.run.seed, seeding.Stream.NOISE, count) for count in counts]
    temperature = exploration.temperature if exploration.exploration == "boltzmann" else 0.0
    return Explored(np.array(rows, np.float64), temperature, seeds)


def linear_epsilon(env_steps: int, initial: float, final: float, decay_env_steps: int) -> float:
    """Returns the exploration probability after `env_steps` of the run."""
    if env_steps >= decay_env_steps:
        return final
    return initial + (final - initial) * env_steps / decay_env_steps


def _linear(config, env_steps, numbers):
    exploration = config.exploration
    initial, final = exploration.epsilon_initial, exploration.epsilon_final
    return [linear_epsilon(env_steps, initial, final, exploration.epsilon_decay_env_steps)] * len(numbers)


def _ape_x(config, env_steps, numbers):
    """Horgan et al. 2018 (arXiv:1803.00933): epsilon^(1 + i / (N - 1) * alpha) for environment i of N, for ever."""
    exploration, last = config.exploration, max(config.training.num_envs - 1, 1)
    return [exploration.ape_x_epsilon ** (1 + i / last * exploration.ape_x_alpha) for i in numbers]


# Boltzmann explores by its temperature, and by epsilon as linear_epsilon does.
_EPSILONS: Mapping[str, Callable] = {"linear_epsilon": _linear, "boltzmann": _linear, "ape_x": _ape_x}
