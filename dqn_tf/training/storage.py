"""Where a run's files go: the directory in which it is written, and the places to which they are copied from there."""

import logging
import pathlib
import time
from collections.abc import Iterable

from dqn_tf.config import ConfigError
from dqn_tf.training.mirror import Mirror, Unreachable
from dqn_tf.training.places import Places
from dqn_tf.training.rundir import RunDirectory

_log = logging.getLogger(__name__)

_PUSH_PERIOD_SECONDS, _LONGEST_PUSH_PERIOD_SECONDS = 30.0, 960.0
_RECORDS = ("config.json", "summary.json", ".newest")  # what tells whether and how the run may go on
_MANIFESTS = "checkpoints/ckpt-*/manifest.json"
_EVENTS = "events.out.tfevents."
FOLLOWER = "evaluator"  # directory of the evaluator task's files


class Storage:
    """The files of one run on one worker. On a disk that all workers see there is nothing to copy.

    Attributes:
      is_private: no worker sees at once what another writes.
      is_behind: the last copy to where the run is kept has failed.
    """

    def __init__(self, places: Places, directory: RunDirectory, task: str):
        """Prepares; nothing is read or written.

        Args:
          task: chief, worker or evaluator.
        """
        self.is_private = places.is_private
        self.is_behind = False
        self._places = places
        self._directory = directory
        self._task = task
        self._pushed_at = time.monotonic()
        self._period = _PUSH_PERIOD_SECONDS
        self._run = Mirror(directory.path, places.run, _WANTED[task]) if places.is_bucket else None
        events = {"chief": _EVENTS, FOLLOWER: f"{FOLLOWER}/{_EVENTS}"}.get(task)
        has_events = events and places.tensorboard and places.tensorboard.rstrip("/") != places.run.rstrip("/")
        self._events = None
        if has_events:
            self._events = Mirror(directory.path, places.tensorboard, lambda name: name.startswith(events))

    def open(self) -> None:
        """Brings what tells whether the run may go on.

        Raises:
          ConfigError: a bucket cannot be used.
          Unreachable: it does not answer.
        """
        if self._run is not None:
            self._directory.clear()
            self._careful(self._run.check)
            self._careful(self._run.pull, _RECORDS)
        if self._task == "chief":
            for place in filter(None, (self._places.model, self._places.tensorboard, self._places.results)):
                self._careful(Mirror(self._directory.path, place).check)

    def claim(self) -> None:
        """Keeps other processes from writing the run from now on. Raises ConfigError, Unreachable."""
        if self._run is not None and self._task == "chief":
            self._careful(self._run.claim)

    def _careful(self, function, *args):
        try:
            function(*args)
        except Unreachable as error:
            if error.is_mistake:
                raise ConfigError(f"{error.filename} cannot be used: {error.strerror}; use another place.") from None
            raise

    def pull_all(self) -> None:
        """Brings all checkpoints, and the files that a resumed run goes on with. Raises Unreachable."""
        if self._run is not None:
            for pattern in (f"{_EVENTS}*", "metrics.jsonl", "checkpoints/ckpt-*/*"):
                self._run.pull(self._run.names(pattern))

    def pull_follower(self) -> None:
        """Brings what the evaluator task has found before. Raises Unreachable."""
        if self._run is not None:
            self._run.pull(self._run.names(f"{FOLLOWER}/*"))

    def pull_news(self) -> None:
        """Brings what tells how far the run is: records, and manifests that are not here. Raises Unreachable."""
        if self._run is not None:
            self._run.pull(_RECORDS)
            there = self._run.names(_MANIFESTS)
            self._run.pull(name for name in there if not self._run.holds(name))
            for path in self._directory.path.glob(_MANIFESTS):
                if path.relative_to(self._directory.path).as_posix() not in there:
                    path.unlink()

    def pull_manifests(self) -> None:
        """Brings what names the checkpoints there are. Raises Unreachable."""
        if self._run is not None:
            self._run.pull(self._run.names(_MANIFESTS))

    def pull(self, paths: Iterable[pathlib.Path]) -> None:
        """Brings files of the run's directory. Raises Unreachable."""
        if self._run is not None:
            self._run.pull(map(self._name, paths))

    def size(self, name: str) -> int:
        """Returns the bytes of a file where the run is kept, -1 where there is none. Raises Unreachable."""
        if self._run is not None:
            return self._run.size(name)
        path = self._directory.path / name
        return path.stat().st_size if path.exists() else -1

    def holds(self, path: pathlib.Path) -> bool:
        """Returns whether a file that is here is also where the run is kept."""
        return self._run is None or self._run.holds(self._name(path))

    def drop(self, paths: Iterable[pathlib.Path]) -> None:
        """Notes files that have been removed here, to be removed at the next `push` where the run is kept."""
        names = [self._name(path) for path in paths]
        for mirror in filter(None, (self._run, self._events)):
            mirror.drop(names)

    def _name(self, path):
        return path.relative_to(self._directory.path).as_posix()

    def push(self) -> None:
        """Copies what is new to where it is kept, and removes what was dropped here. Raises Unreachable, Taken."""
        self._pushed_at = time.monotonic()
        if self._events is not None:
            try:
                self._events.push()
            except Unreachable as error:
                _log.warning("TensorBoard's files wait on the disk: %s: %s", error.filename, error.strerror)
        if self._run is None:
            return
        try:
            self._run.push()
        except Unreachable:
            self.is_behind = True
            self._period = min(2 * self._period, _LONGEST_PUSH_PERIOD_SECONDS)  # trying takes long, and all wait
            raise
        self.is_behind, self._period = False, _PUSH_PERIOD_SECONDS

    def push_or_warn(self) -> None:
        """The same; a place that does not answer is a warning, once. Raises Taken."""
        was_behind = self.is_behind
        try:
            self.push()
        except Unreachable as error:
            if not was_behind:
                _log.warning("files wait on the local disk: %s: %s", error.filename, error.strerror)

    def push_now_and_then(self) -> None:
        """The same, every half minute, and less often after failures."""
        if time.monotonic() - self._pushed_at > self._period:
            self.push_or_warn()

    def finish(self) -> None:
        """Copies model and results to where the platform takes them, and all else that is new. Raises OSError."""
        self.push()
        path, places = self._directory.path, self._places
        if places.model:
            served = f"{places.model.rstrip('/')}/1" if places.is_served_by_version else places.model
            Mirror(path / "model" / "saved_model", served).push()
            Mirror(path / "model", places.model, lambda name: name == "q_network.keras").push()
            _log.info("model: also in %s", places.model)
        if places.results:
            results = ("summary.json", "metrics.jsonl", "reward_curve.png", "config.json")
            Mirror(path, places.results, lambda name: name in results).push()

    def leave(self) -> None:
        """Removes the local copy of a run that is kept elsewhere, and is complete there."""
        if self._run is not None:
            self._directory.clear()


def _is_finished(name):
    return name not in (".lock", ".owner") and not name.endswith((".new", "/.lock"))


# Which of the run's files each task writes.
_WANTED = {
    "chief": lambda name: _is_finished(name) and not name.startswith(f"{FOLLOWER}/"),
    "worker": lambda name: _is_finished(name) and name.startswith("checkpoints/") and "/manifest.json" not in name,
    FOLLOWER: lambda name: _is_finished(name) and name.startswith(f"{FOLLOWER}/"),
}
