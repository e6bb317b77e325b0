"""Copies a run's files from the local directory to the places where they are kept, and back."""

import logging
import os
import pathlib
import time
from collections.abc import Iterable, Mapping
from typing import Any

from dqn_tf.config.schema import ConfigError
from dqn_tf.persistence import best_model, run_directory
from dqn_tf.persistence.locations import Locations
from dqn_tf.persistence.mirror import Mirror, Unreachable
from dqn_tf.persistence.run_directory import RunDirectory
from dqn_tf.process import reasons

_log = logging.getLogger(__name__)

_PUSH_PERIOD_SECONDS, _LONGEST_PUSH_PERIOD_SECONDS = 30.0, 960.0
_SUMMARY = "summary.json"
_RECORDS = ("config.json", _SUMMARY, ".newest", ".files")  # they tell whether and how the run may be resumed
_EVENTS = "events.out.tfevents."
MANIFESTS = "checkpoints/ckpt-*/manifest.json"
RESUMED = (f"{_EVENTS}*", "metrics.jsonl", "checkpoints/ckpt-*/*")  # patterns of what a resumed run continues with
FOLLOWER = "evaluator"  # task, and directory of its files
_LISTED = ("metrics.jsonl", "reward_curve.png", "model/q_network.keras", f"{FOLLOWER}/{best_model.NAME}")


class Storage:
    """The files of one run on one worker. If all workers see one disk there is nothing to copy.

    Attributes:
      is_private: no worker sees at once what another writes.
      is_behind: the last copy to the place where the run is kept has failed.
    """

    def __init__(self, places: Locations, directory: RunDirectory, task: str):
        """Reads and writes nothing.

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
        self._events = (
            Mirror(directory.path, places.tensorboard, lambda name: name.startswith(events)) if has_events else None
        )

    def open(self) -> None:
        """Brings the files that tell whether the run may be resumed.

        Raises:
          ConfigError: a bucket cannot be used.
          Unreachable: it does not answer.
        """
        if self._run is not None:
            self._directory.clear()
            _careful(self._run.check)
            _careful(self._run.pull, _RECORDS)
            self.pull(MANIFESTS)
            if self._task == "chief" and not any(self._directory.path.glob(MANIFESTS)):
                # If no run has listed these files they are somebody else's, and the command is refused.
                self._run.pull(name for name in _LISTED if self._run.size(name) >= 0)
            if self.size(_SUMMARY) >= 0:
                self._run.pull(("metrics.jsonl", "reward_curve.png", *self._run.tree("model")))
                self.pull(f"{_EVENTS}*")
        if self._task == "chief":
            for place in self._places.copies:
                _careful(Mirror(self._directory.path, place).check)

    def claim(self) -> None:
        """Keeps other processes from writing the run from now on. Raises ConfigError, Unreachable."""
        if self._run is not None and self._task == "chief":
            _careful(self._run.claim)

    def pull(self, *patterns: str) -> None:
        """Brings the files that match; * matches all but slashes. Raises Unreachable."""
        if self._run is not None:
            for pattern in patterns:
                self._run.pull(self._run.names(pattern))

    def pull_best_or_warn(self) -> None:
        """Brings what the evaluator task has found so far; a place that does not answer is a warning."""
        try:
            if self._run is not None:
                self._run.pull([f"{FOLLOWER}/{best_model.NAME}", f"{FOLLOWER}/metrics.jsonl"])
        except Unreachable as error:
            _log.warning("the evaluator's files cannot be read: %s: %s", error.filename, error.strerror)

    def pull_news(self) -> None:
        """Brings the run's records and new manifests, and removes manifests that are gone. Raises Unreachable."""
        if self._run is not None:
            self._run.pull(_RECORDS)
            there = self._run.names(MANIFESTS)
            self._run.pull(name for name in there if not self._run.holds(name))
            for path in self._directory.path.glob(MANIFESTS):
                if self._name(path) not in there:
                    path.unlink()

    def pull_paths(self, paths: Iterable[pathlib.Path]) -> None:
        """Brings files of the run's directory. Raises Unreachable."""
        if self._run is not None:
            self._run.pull(map(self._name, paths))

    def size(self, name: str) -> int:
        """Returns the bytes of a file in the place where the run is kept, -1 if it is not there. Raises Unreachable."""
        if self._run is not None:
            return self._run.size(name)
        path = self._directory.path / name
        return path.stat().st_size if path.exists() else -1

    def holds(self, path: pathlib.Path) -> bool:
        """Returns whether a local file is also in the place where the run is kept."""
        return self._run is None or self._run.holds(self._name(path))

    def drop(self, paths: Iterable[pathlib.Path]) -> None:
        """Notes local files that have been removed; the next `push` removes their copies."""
        names = [self._name(path) for path in paths]
        for mirror in filter(None, (self._run, self._events)):
            mirror.drop(names)

    def _name(self, path):
        return path.relative_to(self._directory.path).as_posix()

    def push(self) -> None:
        """Copies new files to the place where they are kept, and removes dropped ones. Raises Unreachable, Taken."""
        self._pushed_at = time.monotonic()
        try:
            if self._events is not None:
                self._events.push()
        except Unreachable as error:
            _log.warning("TensorBoard's files wait on the disk: %s: %s", error.filename, error.strerror)
        try:
            if self._run is not None:
                self._run.push()
        except Unreachable:
            self.is_behind = True
            self._period = min(2 * self._period, _LONGEST_PUSH_PERIOD_SECONDS)  # each try takes long, and all wait
            raise
        self.is_behind, self._period = False, _PUSH_PERIOD_SECONDS

    def push_or_warn(self) -> None:
        """Does the same; the first time that the place does not answer is a warning. Raises Taken."""
        was_behind = self.is_behind
        try:
            self.push()
        except Unreachable as error:
            if not was_behind:
                _log.warning("files wait on the local disk: %s: %s", error.filename, error.strerror)

    def push_now_and_then(self) -> None:
        """Does the same every half minute, and less often after failures."""
        if time.monotonic() - self._pushed_at > self._period:
            self.push_or_warn()

    def unfinish(self) -> None:
        """Removes summary.json, before the results of a finished run are replaced. Raises OSError, Taken."""
        path = self._directory.path / _SUMMARY
        if path.exists():
            path.unlink()
            self.drop([path])
            self.push()

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Copies all new files, then writes summary.json, which says that the run is finished.

        Raises:
          OSError: a place or the disk cannot be written. Then the run is not finished.
          Taken: another process writes it.
        """
        self.push()
        self.deliver()
        if self._places.results and not _is_same(self._places.results, self._directory.path):
            self._results().write(_SUMMARY, run_directory.to_text(summary))
        self._directory.write_json(_SUMMARY, summary)
        if self._run is not None:
            self._run.push()

    def deliver(self) -> None:
        """Copies what is missing of model, TensorBoard's files and results to the platform's places.

        Raises Unreachable.
        """
        path, places = self._directory.path, self._places
        if places.model:
            served = f"{places.model.rstrip('/')}/1" if places.is_served_by_version else places.model
            is_new = _complete(Mirror(path / "model" / "saved_model", served))
            is_new |= _complete(Mirror(path / "model", places.model, lambda name: name == "q_network.keras"))
            if is_new:
                _log.info("model: also in %s", places.model)
        for mirror in (self._events, self._results() if places.results else None):
            if mirror is not None and _complete(mirror):
                _log.info("results: also in %s", mirror.place)

    def _results(self):
        results = (_SUMMARY, "metrics.jsonl", "reward_curve.png", "config.json")
        return Mirror(self._directory.path, self._places.results, lambda name: name in results)

    def leave(self) -> None:
        """Removes the local copy of a run that is kept elsewhere and is complete there."""
        if self._run is not None:
            try:
                self._directory.clear()
            except OSError as error:  # the run is complete all the same
                _log.warning("the local copy in %s cannot be removed: %s", self._directory.path, reasons.reason(error))


def _careful(function, *args):
    try:
        function(*args)
    except Unreachable as error:
        if error.is_mistake:
            raise ConfigError(f"{error.filename} cannot be used: {error.strerror}; use another place.") from None
        raise


def _complete(mirror):
    """Copies the files that are missing in a place, and returns whether there were any. Raises Unreachable."""
    mirror.recognize()
    return mirror.push()


def _is_same(place, path):
    """Returns whether a place is the local directory `path`."""
    return os.path.exists(place) and os.path.samefile(place, path)


def _is_finished(name):
    return name not in (".lock", ".owner") and not name.endswith((".new", "/.lock"))


# Which of the run's files each task writes.
_WANTED = {
    "chief": lambda name: _is_finished(name) and not name.startswith(f"{FOLLOWER}/"),
    "worker": lambda name: _is_finished(name) and name.startswith("checkpoints/") and "/manifest.json" not in name,
    FOLLOWER: lambda name: _is_finished(name) and name.startswith(f"{FOLLOWER}/"),
}
