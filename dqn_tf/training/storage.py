"""Where a run's files go: the directory in which it is written, and the places to which they are copied from there."""

import logging
import pathlib
import time
from collections.abc import Iterable

import tensorflow as tf

from dqn_tf.training.mirror import Mirror, Unreachable
from dqn_tf.training.places import Places
from dqn_tf.training.rundir import RunDirectory

_log = logging.getLogger(__name__)

_PUSH_PERIOD_SECONDS = 30.0
_RECORDS = ("config.json", "summary.json", ".newest")  # what tells whether and how the run may go on
_EVENTS = "events.out.tfevents."
FOLLOWER = "evaluator"  # directory of the evaluator task's files


class Storage:
    """The files of one run on one worker. On a disk that all workers see there is nothing to copy.

    Attributes:
      is_private: no worker sees at once what another writes.
    """

    def __init__(self, places: Places, directory: RunDirectory, task: str):
        """Prepares; nothing is read or written.

        Args:
          task: chief, worker or evaluator.
        """
        self.is_private = places.is_private
        self._places = places
        self._directory = directory
        self._task = task
        self._pushed_at = time.monotonic()
        self._is_behind = False
        self._run = Mirror(directory.path, places.run, _WANTED[task]) if places.is_bucket else None
        self._mirrors = [self._run] if self._run else []
        events = {"chief": _EVENTS, FOLLOWER: f"{FOLLOWER}/{_EVENTS}"}.get(task)
        if events and places.tensorboard and places.tensorboard.rstrip("/") != places.run.rstrip("/"):
            self._mirrors.append(Mirror(directory.path, places.tensorboard, lambda name: name.startswith(events)))

    def open(self) -> None:
        """Brings what tells whether the run may go on, and keeps other processes from writing it.

        Raises:
          ConfigError: the bucket cannot be used.
          Unreachable: it does not answer.
        """
        if self._run is None:
            return
        self._directory.clear()
        try:
            self._run.pull(_RECORDS)
        except Unreachable as error:  # of what the user can mend, `claim` says it better
            _log.warning("%s: %s", error.filename, error.strerror)
        if self._task == "chief":
            self._run.claim()

    def pull_all(self) -> None:
        """Brings all checkpoints, and the files that a resumed run goes on with. Raises Unreachable."""
        if self._run is not None:
            wanted = (name for name in self._run.names() if _WANTED["chief"](name) and not name.startswith("model/"))
            self._run.pull(wanted)

    def pull_follower(self) -> None:
        """Brings what the evaluator task has found before. Raises Unreachable."""
        if self._run is not None:
            self._run.pull(self._run.names(FOLLOWER))

    def pull_news(self) -> None:
        """Brings what tells how far the run is: records and manifests. Raises Unreachable."""
        if self._run is not None:
            self._run.pull(_RECORDS)
            self.pull_manifests()

    def size(self, name: str) -> int:
        """Returns the bytes of a file where the run is kept, -1 where there is none. Raises Unreachable."""
        if self._run is not None:
            return self._run.size(name)
        path = self._directory.path / name
        return path.stat().st_size if path.exists() else -1

    def pull_manifests(self) -> None:
        """Brings what names the checkpoints there are. Raises Unreachable."""
        if self._run is not None:
            self._run.pull(name for name in self._run.names("checkpoints") if _is_manifest(name))

    def pull(self, paths: Iterable[pathlib.Path]) -> None:
        """Brings files of the run's directory. Raises Unreachable."""
        if self._run is not None:
            self._run.pull(path.relative_to(self._directory.path).as_posix() for path in paths)

    def push(self) -> None:
        """Copies what is new to where it is kept, and removes there what was removed here. Raises Unreachable."""
        for mirror in self._mirrors:
            mirror.push()
        self._pushed_at = time.monotonic()
        self._is_behind = False

    def push_now_and_then(self) -> None:
        """The same, every half minute; a place that does not answer is a warning, once."""
        if not self._mirrors or time.monotonic() - self._pushed_at < _PUSH_PERIOD_SECONDS:
            return
        try:
            self.push()
        except Unreachable as error:
            self._pushed_at = time.monotonic()
            if not self._is_behind:
                _log.warning("files wait on the local disk: %s: %s", error.filename, error.strerror)
            self._is_behind = True

    def finish(self) -> None:
        """Copies model and results to where the platform takes them, and all else that is new. Raises OSError."""
        self.push()
        path, places = self._directory.path, self._places
        try:
            if places.model:
                served = f"{places.model.rstrip('/')}/1" if places.is_served_by_version else places.model
                Mirror(path / "model" / "saved_model", served).push()
                Mirror(path / "model", places.model, lambda name: name == "q_network.keras").push()
                _log.info("model: also in %s", places.model)
            if places.results:
                results = ("summary.json", "metrics.jsonl", "reward_curve.png", "config.json")
                Mirror(path, places.results, lambda name: name in results).push()
        except tf.errors.NotFoundError as error:
            raise Unreachable(None, error.message.splitlines()[0], places.model) from None


def _is_manifest(name):
    return name.endswith("/manifest.json")


def _is_finished(name):
    return name not in (".lock", ".owner") and not name.endswith(".new")


# Which of the run's files each task writes.
_WANTED = {
    "chief": lambda name: _is_finished(name) and not name.startswith(f"{FOLLOWER}/"),
    "worker": lambda name: _is_finished(name) and name.startswith("checkpoints/") and not _is_manifest(name),
    FOLLOWER: lambda name: _is_finished(name) and name.startswith(f"{FOLLOWER}/"),
}
