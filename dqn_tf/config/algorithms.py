"""Presets of the field's algorithms, with the numbers of their papers.

Each has two parts: what the algorithm is, for any environment; and numbers that were found for Atari games, which are
left out for others. Times are in env steps, of four frames, and in updates, of which there is one in four env steps
unless --replay_ratio says otherwise.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Algorithm(NamedTuple):
    """Settings by name.

    Attributes:
      parts: what the algorithm is.
      games: numbers for Atari games.
      source: of both.
    """

    parts: Mapping[str, Any]
    games: Mapping[str, Any]
    source: str


_ADAM_EPSILON = 0.01 / 32  # of all of DeepMind's distributional agents
_PLAIN = {"n_step": 1, "double_q": False, "clip_norm": 0.0}
_GREEDY = {"epsilon_final": 0.01, "epsilon_decay_env_steps": 250_000, "learning_starts": 12_500}

ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        # The tuned version.
        "double_dqn": Algorithm(
            {"n_step": 1, "double_q": True, "clip_norm": 0.0},
            {
                "optimizer": "centered_rmsprop",
                "learning_rate": 2.5e-4,
                "optimizer_epsilon": 0.01,
                "target_update_period": 7_500,
                **_GREEDY,
            },
            "van Hasselt et al. 2016, arXiv:1509.06461",
        ),
        "c51": Algorithm(
            {**_PLAIN, "head": "categorical", "num_atoms": 51},
            {
                "learning_rate": 2.5e-4,
                "optimizer_epsilon": _ADAM_EPSILON,
                "target_update_period": 2_500,
                **_GREEDY,
            },
            "Bellemare et al. 2017, arXiv:1707.06887",
        ),
        "qr_dqn": Algorithm(
            {**_PLAIN, "head": "quantile", "num_quantiles": 200, "huber_kappa": 1.0},
            {
                "learning_rate": 5e-5,
                "optimizer_epsilon": _ADAM_EPSILON,
                "target_update_period": 2_500,
                **_GREEDY,
            },
            "Dabney et al. 2018, arXiv:1710.10044",
        ),
        "iqn": Algorithm(
            {
                **_PLAIN,
                "head": "implicit_quantile",
                "num_tau_samples": 64,
                "num_policy_tau_samples": 32,
                "huber_kappa": 1.0,
            },
            {
                "learning_rate": 5e-5,
                "optimizer_epsilon": _ADAM_EPSILON,
                "target_update_period": 2_500,
                **_GREEDY,
            },
            "Dabney et al. 2018, arXiv:1806.06923",
        ),
        "m_iqn": Algorithm(
            {
                **_PLAIN,
                "head": "implicit_quantile",
                "num_tau_samples": 64,
                "num_policy_tau_samples": 32,
                "huber_kappa": 1.0,
                "munchausen": True,
                "munchausen_alpha": 0.9,
                "munchausen_tau": 0.03,
                "munchausen_clip": -1.0,
            },
            {
                "learning_rate": 5e-5,
                "optimizer_epsilon": _ADAM_EPSILON,
                "target_update_period": 2_000,
                "learning_starts": 20_000,
                "epsilon_final": 0.01,
                "epsilon_decay_env_steps": 250_000,
            },
            "Vieillard et al. 2020, arXiv:2007.14430",
        ),
        "rainbow": Algorithm(
            {
                "head": "categorical",
                "num_atoms": 51,
                "dueling": True,
                "noisy": True,
                "noisy_sigma": 0.5,
                "double_q": True,
                "n_step": 3,
                "replay": "prioritized",
                "priority_exponent": 0.5,
                "importance_exponent": 0.4,
                "importance_exponent_final": 1.0,
                "epsilon_initial": 0.0,
                "epsilon_final": 0.0,
            },
            {
                "clip_norm": 10.0,
                "learning_rate": 6.25e-5,
                "optimizer_epsilon": 1.5e-4,
                "target_update_period": 2_000,
                "learning_starts": 20_000,
            },
            "Hessel et al. 2018, arXiv:1710.02298; clipping as arXiv:1511.06581",
        ),
        "btr": Algorithm(
            {
                "head": "implicit_quantile",
                "num_tau_samples": 8,
                "num_policy_tau_samples": 8,
                "huber_kappa": 1.0,
                "dueling": True,
                "noisy": True,
                "noisy_sigma": 0.5,
                "munchausen": True,
                "munchausen_alpha": 0.9,
                "munchausen_tau": 0.03,
                "munchausen_clip": -1.0,
                "n_step": 3,
                "discount": 0.997,
                "replay": "prioritized",
                "priority_exponent": 0.2,
                "importance_exponent": 0.45,
                "importance_exponent_final": 1.0,
                "clip_norm": 10.0,
            },
            {
                "network": "impala_cnn",
                "width": 2,
                "spectral_norm": True,
                "pooling": 6,
                "num_envs": 64,
                "round_env_steps": 256,
                "replay_ratio": 1 / 64,
                "batch_size": 256,
                "replay_capacity": 1_048_576,
                "learning_rate": 1e-4,
                "optimizer_epsilon": 0.005 / 256,
                "target_update_period": 500,
                "learning_starts": 200_000,
                "epsilon_final": 0.01,
                "epsilon_decay_env_steps": 2_000_000,
            },
            "Clark et al. 2025, arXiv:2411.03820",
        ),
    }
)
