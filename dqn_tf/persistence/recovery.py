"""Restores a run from its newest checkpoint that is neither damaged nor another run's."""

import dataclasses
import logging
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from dqn_tf.config.schema import ConfigError, one_line
from dqn_tf.distribution.strategy import Placement
from dqn_tf.persistence import archive, identity, manifest, model_files, storage, worker_state
from dqn_tf.persistence.archive import Damaged, Invalid
from dqn_tf.persistence.progress import Progress
from dqn_tf.persistence.replay_segments import ReplaySegments
from dqn_tf.persistence.storage import Storage
from dqn_tf.persistence.worker_state import WorkerState
from dqn_tf.process import reasons

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Restored:
    """The parts of a checkpoint that are not restored in place.

    Attributes:
      path: of the checkpoint.
      worker: this worker's state.
      num_workers: number of workers that wrote it.
      journal, config, versions: see Manifest.
    """

    path: pathlib.Path
    worker: WorkerState
    journal: Mapping[str, int]
    num_workers: int
    config: Mapping[str, Any]
    versions: Mapping[str, str]


@dataclasses.dataclass
class Recovery:
    """Restores a run. All workers must make the same calls.

    Attributes:
      root: the directory of all checkpoints.
      checkpoint: of the objects that are restored.
      config: of this run, as in config.json.
      complaints: on the chief, why checkpoints were skipped.
    """

    root: pathlib.Path
    placement: Placement
    checkpoint: tf.train.Checkpoint
    progress: Progress
    segments: ReplaySegments
    storage: Storage
    config: Mapping[str, Any]
    num_actions: int
    complaints: list[str] = dataclasses.field(default_factory=list)
    _passed_over: set[int] = dataclasses.field(default_factory=set)

    def restore(self, capacity: int) -> Restored | None:
        """Restores the newest good checkpoint in place, with the replay; returns the rest, None without a checkpoint.

        Damaged checkpoints, and those that this run cannot have written, are logged and skipped.

        Args:
          capacity: of the replay, of all workers together.
        Raises:
          ConfigError: there are checkpoints, but none is good.
        """
        if self.placement.is_chief:
            self.storage.pull(*storage.RESUMED)
        while True:
            found = self._newest_good() if self.placement.is_chief else None
            # All workers take the chief's choice; those that see another directory will not find it.
            number = int(self.placement.max(-1.0 if found is None else float(found.env_steps)))
            if number < 0:
                return None
            restored, problem = None, ""
            try:
                restored = self._load(found, number, capacity)
            except Invalid as error:
                problem = str(error)
            problems = sorted(filter(None, self.placement.exchange(problem)))
            if not problems:
                break
            self._pass_over(number, problems[0])
        if found:
            if self.complaints:
                self.storage.drop(manifest.set_aside(self.root, number))
            self.storage.push()
        return restored

    def _pass_over(self, number, problem):
        self._passed_over.add(number)
        self.complaints.append(problem)
        if self.placement.is_chief:
            _log.warning("checkpoint %s is damaged: %s", manifest.directory(self.root, number), problem)

    def _load(self, found, number, capacity):
        """Restores a checkpoint and returns its Restored. Raises Invalid.

        Args:
          found: on the chief, the checkpoint's Manifest.
        """
        path = manifest.directory(self.root, number)
        try:
            made = found or self._pulled(number)
            differences = identity.differences(made.config, self.config)
            if differences:
                raise Invalid(f"{path} was trained with {differences[0]}")
            states = [self._state(made, part) for part in made.workers]
            self._read_model(made)
            for one in states:
                self._check_acting(made, one.acting)
            priorities = [one.priorities for one in states if one.priorities]
            self.segments.restore(made.workers, capacity, self.num_actions, priorities)
        except Invalid:
            raise
        except Damaged as error:
            advice = "use a new --logdir."
            if not found:
                advice = "give all workers one directory that all of them see."
                if self.storage.is_private:
                    advice = "the platform must bring the files of all workers to each of them."
            raise ConfigError(f"--logdir: checkpoint {path} cannot be gone on from: {error}; {advice}") from None
        index, num_workers = self.placement.worker_index, self.placement.num_workers
        if len(states) != num_workers:
            states = worker_state.deal(states, num_workers)
        for name, value in made.progress.items():
            setattr(self.progress, name, value)
        return Restored(path, states[index], made.journal, len(made.workers), made.config, made.versions)

    def _state(self, made, part):
        path, num_workers = self.root / part.state.path, len(made.workers)
        arrays = archive.read(path)
        try:
            training = self.config["training"]
            num_envs, capacity = training["num_envs"] // num_workers, training["replay_capacity"] // num_workers
            num_held = min(part.num_added - part.replay[0].first, capacity) if part.replay else 0
            num_priorities = num_held if self.config["replay"]["replay"] == "prioritized" else None
            counts = num_envs, self.num_actions, made.env_steps, num_workers, num_priorities
            return WorkerState.from_arrays(arrays, *counts)
        except Invalid as error:
            raise Invalid(f"{path}: {error}") from None

    def _check_acting(self, made, acting):
        """Raises Invalid if there are weights to act with and their shapes are not the network's."""
        shapes = [variable.shape for variable in self.checkpoint.network.weights]
        if acting and [weights.shape for weights in acting] != shapes:
            path = self.root / made.workers[0].state.path
            raise Invalid(f"{path}: the weights to act with are not those of the network")

    def _read_model(self, made):
        """Reads the model in place. Raises Invalid; then part of the model may be overwritten."""
        path = self.root / made.model_prefix
        try:
            status = model_files.read(self.checkpoint, self.root, made)
            status.expect_partial().assert_consumed()  # assert_consumed checks, expect_partial silences a warning
        except (AssertionError, ValueError, TypeError, LookupError, tf.errors.OpError) as error:
            raise Invalid(f"{path} is none of this run: {one_line(reasons.reason(error))}") from None
        for name, part in vars(self.checkpoint).items():
            for variable in getattr(part, "variables", ()):
                if not np.isfinite(variable.numpy()).all():
                    raise Invalid(f"{path} is none of this run: {name} is not finite")

    def _pulled(self, number):
        """Returns the manifest of a checkpoint that the chief has checked; pulls the files that this worker needs."""
        self.storage.pull(storage.MANIFESTS)  # all: this worker must not remove files that they need
        if self.storage.is_private:
            manifest.set_aside(self.root, number)
        made = manifest.read(self.root, number)
        needed = [*made.model, *(part.state for part in made.workers)]
        are_dealt = len(made.workers) != self.placement.num_workers
        for index, part in enumerate(made.workers):
            if are_dealt or index == self.placement.worker_index:
                needed += [segment.file for segment in part.replay]
        self.storage.pull_paths(self.root / file.path for file in needed)
        return made

    def _newest_good(self):
        """Returns the manifest of the newest undamaged checkpoint, None if there was never any."""
        newest, there = manifest.newest(self.root), manifest.numbers(self.root)
        if newest is not None and newest not in (*there, *self._passed_over):
            self._pass_over(newest, f"{manifest.location(self.root, newest)} is missing")
        for number in sorted(set(there) - self._passed_over, reverse=True):
            try:
                return manifest.check(self.root, number)
            except Damaged as error:
                self._pass_over(number, str(error))
        if newest is None:
            return None
        raise ConfigError(
            f"--logdir={self.root.parent}: no checkpoint is good: {'; '.join(dict.fromkeys(self.complaints))}; "
            "bring one back from a copy, or use a new --logdir."
        )
