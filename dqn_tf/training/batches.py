"""The batches that a worker learns from in a round, with weights that are divided by the largest of all workers."""

import numpy as np

from dqn_tf.config.schema import Config
from dqn_tf.distribution.strategy import Placement
from dqn_tf.experience.replay import Replay, Sample


def sample(config: Config, replay: Replay, placement: Placement, env_steps: int) -> Sample:
    """Returns this worker's part [K, B / W] of the batches of the round that begins at `env_steps`.

    Importance weights are at most 1: they are divided by the largest in all of the round's batches, of all workers, so
    that they only ever make a step smaller. All workers must call it.
    """
    training = config.training
    size = training.updates_per_round, training.batch_size // placement.num_workers
    drawn = replay.sample(*size, importance_exponent(config, env_steps))
    if drawn.importance_weight is None:
        return drawn
    largest = placement.max(float(drawn.importance_weight.max()))
    return drawn._replace(importance_weight=drawn.importance_weight / np.float32(largest))


def importance_exponent(config: Config, env_steps: int) -> float:
    """Returns beta of a round: from its first to its final value, linear in the env steps of the run."""
    first, final = config.replay.importance_exponent, config.replay.importance_exponent_final
    return first + (final - first) * min(env_steps / config.training.train_env_steps, 1.0)
