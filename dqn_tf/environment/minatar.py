"""MinAtar's games (Young & Tian 2019, arXiv:1903.03176), which their package does not register by itself."""

import importlib.util

import gymnasium

from dqn_tf.config import schema

_INSTALL = "pip install -e '.[minatar]'"


def is_installed() -> bool:
    """Returns whether the package is there."""
    return importlib.util.find_spec("minatar") is not None


def register(env_id: str) -> None:
    """Registers all games with gymnasium, if this one is not. Raises ConfigError: the package is not installed."""
    if env_id in gymnasium.registry:
        return
    if not is_installed():
        raise schema.ConfigError(f"--env={env_id} needs MinAtar, which is not installed: {_INSTALL}")
    from minatar import gym as games

    games.register_envs()
