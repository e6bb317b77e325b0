"""Trains a Keras DQN under a tf.distribute scope: as a command (`dqn-tf --help`), and as a library.

    import dqn_tf
    run = dqn_tf.train("CartPole-v1", train_env_steps=50_000)
    run.act(observation)

See docs/library.md. Nothing is imported here before it is used.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dqn_tf.agent.losses import LossOutput
    from dqn_tf.benchmark.comparing import compare
    from dqn_tf.config.schema import Config, ConfigError
    from dqn_tf.config.user_code import UserCodeFailure
    from dqn_tf.evaluation.export import load_model
    from dqn_tf.library import Run, load_run, train
    from dqn_tf.sweep.tuning import tune
    from dqn_tf.training.callbacks import STOP, Callback

_HOMES = {
    "Callback": "training.callbacks",
    "Config": "config.schema",
    "ConfigError": "config.schema",
    "LossOutput": "agent.losses",
    "Run": "library",
    "STOP": "training.callbacks",
    "UserCodeFailure": "config.user_code",
    "compare": "benchmark.comparing",
    "load_model": "evaluation.export",
    "load_run": "library",
    "train": "library",
    "tune": "sweep.tuning",
}
__all__ = [
    "Callback",
    "Config",
    "ConfigError",
    "LossOutput",
    "Run",
    "STOP",
    "UserCodeFailure",
    "compare",
    "load_model",
    "load_run",
    "train",
    "tune",
]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'dqn_tf' has no attribute {name!r}")
    return getattr(importlib.import_module(f"dqn_tf.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
