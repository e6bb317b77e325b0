"""Named settings, tuned per environment. A preset changes defaults; a config file and flags win over it."""

import difflib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dqn_tf.config.algorithms import ALGORITHMS
from dqn_tf.config.schema import ConfigError, is_atari, is_minatar

# For observations of any scale. Layer normalization made the difference where rewards are rare.
_GENERAL: Mapping[str, Any] = {
    "normalize_observations": True,
    "normalization": "layer",
    "hidden_units": (256, 256),
    "batch_size": 128,
    "replay_ratio": 0.25,
}

# How each was found, and what ten seeds of it learn: docs/learning.md.
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "none": {},
        "general": _GENERAL,
        "mountaincar": {**_GENERAL, "train_env_steps": 120_000, "eval_period": 10_000},
        "lunarlander": {**_GENERAL, "train_env_steps": 300_000, "eval_period": 10_000},
        # What was learned is easily forgotten here: a rate that becomes small holds it.
        "cartpole": {
            "learning_rate": 2e-3,
            "learning_rate_schedule": "linear",
            "learning_rate_decay_env_steps": 50_000,
            "learning_rate_final": 1e-5,
            "epsilon_final": 0.02,
            "epsilon_decay_env_steps": 3_000,
            "eval_episodes": 50,
            "v_min": 0.0,  # of a discounted return
            "v_max": 100.0,
        },
        # Those of rl-baselines3-zoo (Raffin 2020, github.com/DLR-RM/rl-baselines3-zoo): none of ours did better.
        "acrobot": {
            "hidden_units": (256, 256),
            "train_env_steps": 100_000,
            "replay_ratio": 1.0,
            "batch_size": 128,
            "n_step": 1,
            "double_q": False,
            "learning_rate": 6.3e-4,
            "learning_rate_schedule": "constant",
            "target_update_period": 250,
            "epsilon_final": 0.1,
            "eval_period": 10_000,
            "eval_episodes": 50,
        },
        # Observations are numbers of states. One step: returns of several steps are those of the exploring policy.
        "tabular": {
            "n_step": 1,
            "train_env_steps": 100_000,
            "eval_period": 10_000,
            "eval_episodes": 100,
        },
        # What the ablation found for two of the games: docs/algorithms.md.
        "minatar": {
            "network": "minatar_cnn",
            "normalization": "layer",
            "replay": "prioritized",
            "train_env_steps": 2_000_000,
            "round_env_steps": 160,
            "replay_ratio": 0.25,
            "replay_capacity": 100_000,
            "learning_starts": 5_000,
            "learning_rate": 3e-4,
            "learning_rate_decay": 1e-5,
            "epsilon_final": 0.01,
            "epsilon_decay_env_steps": 100_000,
            "eval_period": 50_000,
            "checkpoint_period": 100_000,
            "log_period": 5_000,
        },
        # Dopamine's schedule (Castro et al. 2018, arXiv:1812.06110) with n-step returns and double Q-learning.
        "atari": {
            "train_env_steps": 10_000_000,
            "num_envs": 8,
            "round_env_steps": 160,
            "replay_ratio": 0.25,
            "batch_size": 32,
            "replay_capacity": 1_000_000,
            "learning_starts": 20_000,
            "learning_rate": 1e-4,
            "learning_rate_schedule": "constant",
            "optimizer_epsilon": 1.5e-4,
            "reward_clip": 1.0,
            "target_update_period": 2_000,
            "epsilon_final": 0.01,
            "epsilon_decay_env_steps": 250_000,
            "eval_period": 250_000,
            "eval_episodes": 10,
            "final_eval_episodes": 20,
            "eval_epsilon": 0.001,
            "checkpoint_period": 100_000,
            "log_period": 5_000,
        },
        # The plain setting many tutorials and comparisons use.
        "classic": {
            "hidden_units": (64, 64),
            "batch_size": 32,
            "replay_ratio": 1.0,
            "round_env_steps": 160,
            "n_step": 1,
            "double_q": False,
            "target_update_period": 500,
            "clip_norm": 0.0,
            "learning_rate_schedule": "constant",
        },
    }
)

# Where a GPU learns: then acting is what limits, and more games share a call of the network. docs/gpu.md
ON_GPU: Mapping[str, Mapping[str, Any]] = MappingProxyType({"atari": {"num_envs": 32}})

# By the environment's name without its version.
_BY_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "CartPole": "cartpole",
        "Acrobot": "acrobot",
        "MountainCar": "mountaincar",
        "LunarLander": "lunarlander",
        "FrozenLake": "tabular",
        "FrozenLake8x8": "tabular",
        "Taxi": "tabular",
        "CliffWalking": "tabular",
        "CliffWalkingSlippery": "tabular",
    }
)


def automatic(env: str) -> str:
    """Returns the preset that `env` takes by itself, in any of its versions."""
    if is_atari(env):
        return "atari"
    return "minatar" if is_minatar(env) else _BY_ENVIRONMENT.get(re.sub(r"-v\d+$", "", env), "general")


def layers(name: str, env: str, has_gpu: bool = False) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Returns the values of preset `name`: those that `env` takes by itself, and those that were asked for.

    auto has only the former, which give way to what contradicts them. An algorithm changes them.

    Args:
      has_gpu: whether the machine that will learn has a GPU.
    Raises:
      ConfigError: there is no such preset.
    """
    if name in PRESETS:
        return {}, _values(name, has_gpu)
    if name != "auto" and name not in ALGORITHMS:
        known = (*PRESETS, *ALGORITHMS)
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else "."
        raise ConfigError(f"--preset={name} must be one of auto, {', '.join(known)}{hint}")
    asked: dict[str, Any] = {}
    if name in ALGORITHMS:
        asked = {**ALGORITHMS[name].parts, **(ALGORITHMS[name].games if is_atari(env) else {})}
    return _values(automatic(env), has_gpu), asked


def find(name: str, env: str, has_gpu: bool = False) -> Mapping[str, Any]:
    """Returns all values of preset `name`. Raises ConfigError. See `layers`."""
    own, asked = layers(name, env, has_gpu)
    return {**own, **asked}


def _values(name, has_gpu):
    return {**PRESETS[name], **(ON_GPU.get(name, {}) if has_gpu else {})}


def of_gpu(name: str, env: str) -> Mapping[str, tuple[Any, Any]]:
    """Returns the settings of preset `name` that are others where a GPU learns: without one, and with it."""
    without, values = find(name, env), find(name, env, has_gpu=True)
    return {key: (without[key], value) for key, value in values.items() if value != without[key]}


def left_out(name: str, env: str) -> Mapping[str, Any]:
    """Returns the settings of preset `name` that were found for Atari games and are not used for `env`."""
    return ALGORITHMS[name].games if name in ALGORITHMS and not is_atari(env) else {}


def taken_by(name: str) -> str:
    """Returns in words which environments take preset `name` by themselves, empty if none does."""
    environments = [env for env, preset in _BY_ENVIRONMENT.items() if preset == name]
    environments += {"atari": ["ALE/..."], "minatar": ["MinAtar/..."], "general": ["all others"]}.get(name, [])
    return f" (auto for {', '.join(environments)})" if environments else ""
