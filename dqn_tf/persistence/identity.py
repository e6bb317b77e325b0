"""What makes a run the same run: settings that a resumed one must share, and those whose change is told."""

from collections.abc import Mapping
from typing import Any

from dqn_tf.config import settings
from dqn_tf.config.schema import Config

# What a resumed run may do differently: how long, how often, where and on what. All else is part of its meaning.
_MAY_CHANGE_SECTIONS = ("cluster", "evaluation", "hardware")
_MAY_CHANGE = ("preset", "train_env_steps", "overlap", "vectorization")
# Of these sections, what makes numbers another thing: evaluations that are compared with each other, and arithmetic.
_MAY_NOT_CHANGE = ("eval_epsilon", "eval_max_episode_steps", "precision")
# What the numbers are the same with, to the bit, or what is told elsewhere.
_CHANGES_NOTHING = (
    *("preset", "overlap", "vectorization", "checkpoint_period", "checkpoints_to_keep", "log_period"),
    *("cluster_timeout", "round_timeout", "max_restarts", "num_workers", "actor_threads", "final_eval_episodes"),
)
# What the run itself has found out where it was not told; a resumed one that is not told either takes that.
_FOUND_OUT = {"eval_max_episode_steps": 0}
_DEFAULTS = settings.to_json(Config())


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns a line for each setting that must be the same and is not.

    Args:
      old: settings of the run, as in config.json. One that is not there has its default: there was no other way then.
      new: those that are asked for.
    """
    return [
        f"{name}={_shown(was)}, this run asks for {_shown(asked)}; use a new --logdir or the old value."
        for name, was, asked in _pairs(old, new, may_change=False)
    ]


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns in words each setting that may be another, is, and may change the result in its bits or more."""
    return [
        _change(name, was, asked)
        for name, was, asked in _pairs(old, new, may_change=True)
        if name.partition(".")[2] not in _CHANGES_NOTHING
    ]


def changed(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Returns in words which of the versions, and of what else a manifest has of its machine, are others now."""
    return [_change(name, old[name], value) for name, value in new.items() if old.get(name, value) != value]


def _change(name, was, asked):
    return f"{name} was {_shown(was)} and is {_shown(asked)}"


def _pairs(old, new, may_change):
    """Returns (section.name, old value, new value) of the settings that differ, of those that may or may not."""
    found = []
    for section, leaves in new.items():
        stored = settings.stored(old, section)
        for name, value in leaves.items():
            is_free = name in _MAY_CHANGE or section in _MAY_CHANGE_SECTIONS and name not in _MAY_NOT_CHANGE
            was = stored.get(name, _DEFAULTS[section][name]) if isinstance(stored, dict) else stored
            is_settled = name in _FOUND_OUT and value == _FOUND_OUT[name]
            if was != value and is_free == may_change and not is_settled:
                found.append((f"{section}.{name}", was, value))
    return found


def _shown(value):
    return str(value)[:200]
