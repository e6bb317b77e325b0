"""Saves and restores checkpoints: all that a resumed run needs to come to the same result."""

import dataclasses
import logging
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from dqn_tf.agent.learner import Learner
from dqn_tf.config import files
from dqn_tf.distribution.strategy import Placement
from dqn_tf.persistence import archive, manifest, own_files
from dqn_tf.persistence.manifest import Manifest, WorkerPart
from dqn_tf.persistence.progress import Progress
from dqn_tf.persistence.recovery import Recovery, Restored
from dqn_tf.persistence.replay_segments import ReplaySegments
from dqn_tf.persistence.storage import Storage
from dqn_tf.persistence.worker_state import WorkerState
from dqn_tf.process import reasons

_log = logging.getLogger(__name__)

_MODEL = "model"


class Checkpoints:
    """Saves and restores a run. All workers must make the same calls: each writes its part, and the chief commits."""

    def __init__(
        self,
        root: pathlib.Path,
        placement: Placement,
        learner: Learner,
        best_model: keras.Model,
        num_actions: int,
        progress: Progress,
        segments: ReplaySegments,
        storage: Storage,
        num_kept: int,
        config: Mapping[str, Any],
        versions: Mapping[str, str],
        environment: Mapping[str, str],
    ):
        """Writes and reads nothing.

        Args:
          root: the directory of all checkpoints.
          storage: copies what is written there.
          num_kept: number of newest checkpoints to keep, beside the one with the best evaluation.
          config, versions, environment: for the manifest.
        """
        self._root = root
        self._placement = placement
        self._progress = progress
        self._segments = segments
        self._storage = storage
        self._num_kept = num_kept
        self._about = {"config": config, "versions": versions, "environment": environment}
        self._checkpoint = tf.train.Checkpoint(
            network=learner.network, target=learner.target, optimizer=learner.optimizer, kept=best_model
        )
        self._recovery = Recovery(root, placement, self._checkpoint, progress, segments, storage, config, num_actions)

    def latest(self) -> pathlib.Path | None:
        """Returns the directory of the newest checkpoint, None if there is none."""
        numbers = manifest.numbers(self._root)
        return manifest.directory(self._root, numbers[-1]) if numbers else None

    def save(self, worker: WorkerState, journal: Callable[[], Mapping[str, int]], is_again: bool = False) -> bool:
        """Saves the run; returns whether that succeeded, the same on all workers.

        A failure is a warning: the checkpoints before are still there.

        Args:
          journal: returns Manifest.journal and may raise OSError; only the chief calls it.
          is_again: there is a checkpoint of these env steps already; its files stay until the new one replaces it.
        """
        suffix = "-again" if is_again else ""
        place = manifest.directory(self._root, self._progress.env_steps)
        is_chief = self._placement.is_chief
        part = self._attempt(place, lambda: self._write(place, worker, suffix))
        parts = self._placement.exchange(manifest.part_to_text(part) if part else "")
        text = ""
        if all(parts):
            made = self._attempt(place, lambda: self._commit(place, parts, journal, suffix)) if is_chief else None
            text = self._placement.exchange(made or "")[0]
        if text:
            self._segments.adopt(part.replay)
            if self._storage.is_private and not is_chief:
                self._attempt(place, lambda: self._follow(text))
        elif is_chief or self._storage.is_private:
            self._storage.drop(manifest.remove_unfinished(place))  # they may fill the disk
        return bool(text)

    def _attempt(self, place, function):
        """Returns what `function` returns; None, with a warning, if the disk cannot be written."""
        try:
            return function()
        except (OSError, tf.errors.OpError) as error:
            where = getattr(error, "filename", None) or place
            last = self.latest()
            _log.warning(
                "checkpoint %s cannot be written: %s: %s; %s",
                place,
                where,
                reasons.reason(error),
                f"the last one is {last}" if last else "there is none yet",
            )
            return None

    def _write(self, place, worker, suffix):
        """Writes this worker's part and returns its entry in the manifest."""
        own_files.make_directory(self._root)
        own_files.make_directory(place)
        index, num_workers = self._placement.worker_index, self._placement.num_workers
        path = place / f"worker-{index}-of-{num_workers}{suffix}.npz"
        archive.write(path, worker.to_arrays())
        replay = self._segments.held(self._segments.write(place))
        self._storage.push()
        return WorkerPart(archive.describe(self._root, path), self._segments.num_added, replay)

    def _commit(self, place, parts, journal, suffix):
        """Writes the model and completes the checkpoint; returns the text of its manifest.

        Args:
          parts: the entries of all workers, as text.
        """
        name = _MODEL + suffix
        self._checkpoint.write(str(place / name))
        model = []
        for path in sorted((place / f"{name}.index", *place.glob(f"{name}.data-*-of-*"))):
            with path.open("rb") as file:
                os.fsync(file.fileno())
            model.append(archive.describe(self._root, path))
        made = Manifest(
            env_steps=self._progress.env_steps,
            progress=dataclasses.asdict(self._progress),
            model=tuple(model),
            workers=tuple(map(manifest.part_from_text, parts)),
            journal=journal(),
            **self._about,
        )
        text = manifest.to_text(made)
        manifest.commit(self._root, made.env_steps, text)
        try:
            self._storage.push()
        except OSError as error:
            if not self._storage.holds(manifest.location(self._root, made.env_steps)):
                manifest.retract(self._root, made.env_steps)
                raise
            _log.warning("checkpoint %s is kept, but not all else: %s: %s", place, error.filename, error.strerror)
        self._prune()
        self._storage.push_or_warn()
        return text

    def _follow(self, text):
        """Completes the checkpoint in this worker's own directory, as the chief has done in its directory."""
        path = manifest.location(self._root, self._progress.env_steps)
        is_the_chiefs = path.exists() and files.read(path, manifest.MOST_BYTES) == text.encode()
        if not is_the_chiefs:
            manifest.commit(self._root, self._progress.env_steps, text)
            self._prune()
        self._storage.push_or_warn()

    def _prune(self):
        try:
            self._storage.drop(manifest.prune(self._root, self._num_kept))
        except OSError as error:  # the new one is saved all the same
            _log.warning("old checkpoints cannot be removed: %s: %s", error.filename, error.strerror)

    def restore(self, capacity: int) -> Restored | None:
        """Restores the newest good checkpoint, see Recovery.restore."""
        restored = self._recovery.restore(capacity)
        if restored and self._placement.is_chief and not self._recovery.complaints:
            self._prune()  # a process that was killed may have left old ones
            self._storage.push()
        return restored
