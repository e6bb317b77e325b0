"""Checks that a run can have written a manifest; its checksum says only that nobody has changed it since.

Each field is checked for its type, and against the other fields.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from dqn_tf.config import settings
from dqn_tf.config.schema import Config
from dqn_tf.persistence.progress import Progress

_MOST = 2**53  # of a count
_CHECKPOINT = r"ckpt-(0|[1-9]\d{0,15})/"
_AGAIN = "(-again)?"
_GROWING = re.compile(r"metrics\.jsonl|events\.out\.tfevents\.[\w.-]+", re.ASCII)
_TEXT = 200  # characters of a version
_TOGETHER = (  # both are None, or neither
    *(("last_return", "evaluated_env_steps"), ("last_return", "best_return")),
    ("threshold_env_steps", "threshold_seconds"),
)


def check(made: Any) -> None:
    """Raises ValueError if no run can have written `made`, a Manifest of the right types."""
    config = _config(made.config)
    _check_progress(made.progress, made.env_steps, config.training.round_env_steps)
    _check_model(made.model, made.env_steps)
    _check_workers(made.workers, made.env_steps, config.training)
    for name, size in made.journal.items():
        _require(_GROWING.fullmatch(name) and _is_count(size), "the journal is not one of sizes of the run's files")
    for name, version in made.versions.items():
        _require(isinstance(version, str) and len(name + version) < _TEXT, "the versions are none")


def _config(tree: Mapping[str, Any]) -> Config:
    values, problems = settings.from_json(tree, "its config")
    _require(not problems, problems[0] if problems else "")
    return settings.build(values)


def _check_progress(progress, env_steps, round_env_steps):
    _require(_is_count(env_steps) and env_steps % round_env_steps == 0, f"env_steps={_shown(env_steps)} end no round")
    kinds = {field.name: field.type for field in dataclasses.fields(Progress)}
    _require(progress.keys() == kinds.keys(), "progress has other fields")
    for name, kind in kinds.items():
        _require(_is_of(progress[name], kind), f"progress.{name}={_shown(progress[name])}")
    _require(progress["env_steps"] == env_steps, "progress is of other env steps")
    for name in ("num_episodes", "evaluated_env_steps", "threshold_env_steps", "wall_seconds", "threshold_seconds"):
        value, most = progress[name] or 0, math.inf if name.endswith("seconds") else env_steps
        _require(0 <= value <= most, f"progress.{name}={_shown(value)} in {env_steps} env steps")
    last, best = progress["last_return"], progress["best_return"]
    for first, second in _TOGETHER:
        is_half = (progress[first] is None) != (progress[second] is None)
        _require(not is_half, f"progress has one of {first} and {second}")
    _require(last is None or best >= last, f"progress.best_return={_shown(best)} is less than the last")


def _is_of(value, kind):
    """Returns whether a value has a field's type; int is a count from 0, float a finite number."""
    if value is None:
        return kind in (int | None, float | None)
    if kind is bool:
        return isinstance(value, bool)
    if kind in (int, int | None):
        return _is_count(value)
    return type(value) in (int, float) and abs(value) < 1e300


def _is_count(value):
    return type(value) is int and 0 <= value <= _MOST


def _check_model(model, env_steps):
    names = [file.path for file in model]
    prefixes = [name.removesuffix(".index") for name in names if name.endswith(".index")]
    _require(len(prefixes) == 1, "it has no model")
    (prefix,) = prefixes
    count = len(names) - 1
    parts = [f"{prefix}.data-{part:05d}-of-{count:05d}" for part in range(count)]
    is_own = re.fullmatch(f"ckpt-{env_steps}/model{_AGAIN}", prefix)
    _require(is_own and count and sorted(names) == sorted([*parts, f"{prefix}.index"]), "its model is of other files")


def _check_workers(workers, env_steps, training):
    count = len(workers)
    is_divisor = count and training.num_envs % count == 0 and training.replay_capacity % count == 0
    _require(is_divisor, f"{count} workers cannot share {training.num_envs} environments")
    for index, worker in enumerate(workers):
        who, mine = f"worker {index} of {count}", f"{index}-of-{count}"
        is_own = re.fullmatch(f"ckpt-{env_steps}/worker-{mine}{_AGAIN}.npz", worker.state.path)
        _require(is_own, f"the state of {who} is another file")
        _require(_is_count(worker.num_added), f"num_added={_shown(worker.num_added)} of {who}")
        _check_replay(worker, who, mine, env_steps, training.replay_capacity // count)
    total = sum(worker.num_added for worker in workers)
    _require(total <= env_steps, f"num_added is {total} in {env_steps} env steps")


def _check_replay(worker, who, mine, env_steps, capacity):
    held = worker.replay
    at = held[0].first if held else worker.num_added
    _require(_is_count(at) and at <= max(worker.num_added - capacity, 0), f"the replay of {who} lacks transitions")
    for segment in held:
        is_next = segment.first == at and _is_count(segment.end) and segment.end > at
        _require(is_next, f"the replay of {who} has a segment from {_shown(segment.first)} to {_shown(segment.end)}")
        named = re.fullmatch(rf"{_CHECKPOINT}replay-{mine}-{segment.first}\.npz", segment.file.path)
        is_own = named and int(named[1]) <= env_steps
        _require(is_own, f"the segment from {segment.first} of {who} is another file")
        at = segment.end
    _require(at == worker.num_added, f"the replay of {who} ends at {at} of {worker.num_added}")


def _require(is_so, otherwise):
    if not is_so:
        raise ValueError(otherwise)


def _shown(value):
    text = repr(value)
    return text if len(text) < 40 else f"{text[:40]}..."
