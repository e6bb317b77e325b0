"""How much the actor explores."""

from collections.abc import Sequence

from dqn_tf.config.schema import Config


def epsilons(config: Config, env_steps: int, num_steps: int) -> Sequence[float]:
    """Returns the probability of a random action in each of the next steps of all environments.

    1 until --learning_starts, because nothing has been learned; from the first env step on it also falls linearly.

    Args:
      env_steps: of the run so far.
    """
    training, exploration = config.training, config.exploration
    made = range(env_steps, env_steps + num_steps * training.num_envs, training.num_envs)
    return [
        1.0
        if count < training.learning_starts
        else linear_epsilon(
            count, exploration.epsilon_initial, exploration.epsilon_final, exploration.epsilon_decay_env_steps
        )
        for count in made
    ]


def linear_epsilon(env_steps: int, initial: float, final: float, decay_env_steps: int) -> float:
    """Returns the exploration probability after `env_steps` of the run."""
    if env_steps >= decay_env_steps:
        return final
    return initial + (final - initial) * env_steps / decay_env_steps
