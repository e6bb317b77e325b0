"""Which settings a resumed run must share with the run before, and which of the others are logged if they change."""

from collections.abc import Mapping
from typing import Any

from dqn_tf.config import settings
from dqn_tf.config.schema import Config

# A resumed run may change these: how long, how often, where and on what hardware it trains.
_MAY_CHANGE_SECTIONS = ("cluster", "evaluation", "hardware")
_MAY_CHANGE = ("preset", "train_env_steps", "learning_rate_decay_env_steps", "overlap", "vectorization")
# But not these: evaluations must stay comparable, and so must the arithmetic.
_MAY_NOT_CHANGE = ("eval_epsilon", "eval_max_episode_steps", "precision")
# Changes of these are not logged: they change no bit of the result, or are logged elsewhere.
_CHANGES_NOTHING = (
    *("preset", "overlap", "vectorization", "checkpoint_period", "checkpoints_to_keep", "log_period"),
    *("cluster_timeout", "round_timeout", "max_restarts", "num_workers", "actor_threads", "final_eval_episodes"),
)
# The run replaces this value by what it has found; a resumed run with the same default takes that.
_FOUND_OUT = {"eval_max_episode_steps": 0}
# These make the same network; how a GPU rounds is a fact of the machine, and logged as such.
_ALIKE = {"precision": ("auto", "float32", "tf32")}
# What workers need not have in common; how a network computes they must.
_OF_A_MACHINE = ("cluster", "hardware")
_OF_A_WORKER = ("preset", "overlap", "vectorization", "checkpoints_to_keep", "final_eval_episodes")
_DEFAULTS = settings.to_json(Config())


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns a line for each setting that must be the same and is not.

    Args:
      old: settings of the run, as in config.json. A missing one is of an older version, and has its default.
      new: settings asked for now.
    """
    return [
        f"{name}={_shown(was)}, this run asks for {_shown(asked)}; use a new --logdir or the old value."
        for name, was, asked in _pairs(old, new, may_change=False)
    ]


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns in words each changed setting that may change, and that may change the result."""
    return [
        _change(name, was, asked)
        for name, was, asked in _pairs(old, new, may_change=True)
        if name.partition(".")[2] not in _CHANGES_NOTHING
    ]


def unlike(chief: Mapping[str, Any], mine: Mapping[str, Any]) -> list[str]:
    """Returns a line for each setting that a worker shares with the chief, and was given otherwise."""
    return [
        f"--{name}={_shown(value)} here, and {_shown(its)} on the chief; give all workers the same."
        for section, leaves in mine.items()
        for name, value in leaves.items()
        if name == "precision" or section not in _OF_A_MACHINE and name not in _OF_A_WORKER
        if (its := chief.get(section, {}).get(name)) != value and not _are_alike(name, its, value)
    ]


def changed(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Returns in words which versions, and other facts of the machine, are different now."""
    return [_change(name, old[name], value) for name, value in new.items() if old.get(name, value) != value]


def _change(name, was, asked):
    return f"{name} was {_shown(was)} and is {_shown(asked)}"


def _pairs(old, new, may_change):
    """Returns (section.name, old value, new value) of settings that differ and that may, or may not, change."""
    found = []
    for section, leaves in new.items():
        stored = settings.stored(old, section)
        for name, value in leaves.items():
            is_free = name in _MAY_CHANGE or section in _MAY_CHANGE_SECTIONS and name not in _MAY_NOT_CHANGE
            was = stored.get(name, _DEFAULTS[section][name]) if isinstance(stored, dict) else stored
            is_settled = name in _FOUND_OUT and value == _FOUND_OUT[name]
            if was != value and is_free == may_change and not is_settled and not _are_alike(name, was, value):
                found.append((f"{section}.{name}", was, value))
    return found


def _are_alike(name, was, value):
    return name in _ALIKE and was in _ALIKE[name] and value in _ALIKE[name]


def _shown(value):
    return str(value)[:200]
