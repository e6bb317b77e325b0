"""Checkpoints: model, target, optimizer, the kept model and the counters, through tf.train.Checkpoint."""

import dataclasses
import json
import pathlib

import keras
import tensorflow as tf

from dqn_tf.agent.learner import Learner

_NUM_KEPT = 3


@dataclasses.dataclass
class Progress:
    """Counters of a run, equal on all workers but for what only the chief knows: evaluations and episodes.

    Attributes:
      env_steps: of all workers.
      num_episodes: ended, on all workers.
      wall_seconds: from the command on, over all its resumes.
      best_return: mean of the best evaluation so far, of the kept model; None before the first.
      threshold_env_steps, threshold_seconds: when an evaluation first reached the environment's threshold.
    """

    env_steps: int = 0
    num_episodes: int = 0
    wall_seconds: float = 0.0
    best_return: float | None = None
    threshold_env_steps: int | None = None
    threshold_seconds: float | None = None


class _ProgressState(tf.train.experimental.PythonState):
    """Progress as JSON text inside the checkpoint."""

    def __init__(self, progress: Progress):
        super().__init__()
        self._progress = progress

    def serialize(self):
        return json.dumps(dataclasses.asdict(self._progress))

    def deserialize(self, string_value):
        for name, value in json.loads(string_value).items():
            setattr(self._progress, name, value)


class Checkpoints:
    """Saves and restores a run. All workers restore; only the chief saves."""

    def __init__(self, directory: pathlib.Path, learner: Learner, kept: keras.Model, progress: Progress):
        self._progress = progress
        self._checkpoint = tf.train.Checkpoint(
            network=learner.network,
            target=learner.target,
            optimizer=learner.optimizer,
            kept=kept,
            progress=_ProgressState(progress),
        )
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(directory), max_to_keep=_NUM_KEPT)

    def restore(self) -> str | None:
        """Restores the newest checkpoint in place and returns its path, None where there is none."""
        path = self.latest()
        if path is not None:
            self._checkpoint.restore(path).assert_consumed()
        return path

    def save(self) -> str:
        """Saves and returns the path; the three newest are kept."""
        return self._manager.save(checkpoint_number=self._progress.env_steps)

    def latest(self) -> str | None:
        """Returns the path of the newest checkpoint, None where there is none."""
        return self._manager.latest_checkpoint
