"""A worker's replay on the disk: each checkpoint writes only the transitions since the checkpoint before."""

import logging
import pathlib
import time
from collections.abc import Sequence

import numpy as np

from dqn_tf.experience.replay import Replay
from dqn_tf.experience.sampling import Priorities
from dqn_tf.persistence import archive
from dqn_tf.persistence.manifest import Segment, WorkerPart

_log = logging.getLogger(__name__)

_ROWS = 8192  # transitions of a file: 60 MB of Atari frames in memory while it is written
_REPORT_SECONDS = 10.0


class ReplaySegments:
    """Writes a worker's replay, and restores it from the files of any number of workers."""

    def __init__(self, root: pathlib.Path, replay: Replay, worker_index: int, num_workers: int):
        """Writes and reads nothing.

        Args:
          root: the directory of all checkpoints.
        """
        self._root = root
        self._replay = replay
        self._worker_index = worker_index
        self._num_workers = num_workers
        self._segments: tuple[Segment, ...] = ()

    @property
    def num_added(self) -> int:
        """Number of transitions ever added to the replay."""
        return self._replay.num_added

    def write(self, place: pathlib.Path) -> list[Segment]:
        """Writes the transitions that no checkpoint has into `place`; returns the new segments. Raises OSError."""
        if not all(map(self._is_there, self._segments)):
            self._segments = ()  # somebody removed or cut files: write all again
        first_held = self._replay.num_added - len(self._replay)
        begin = max(self._segments[-1].end, first_held) if self._segments else first_held
        segments = []
        for first in range(begin, self._replay.num_added, _ROWS):
            end = min(first + _ROWS, self._replay.num_added)
            path = place / f"replay-{self._worker_index}-of-{self._num_workers}-{first}.npz"
            archive.write(path, self._replay.packed(first, end))
            segments.append(Segment(first, end, archive.describe(self._root, path)))
        return segments

    def _is_there(self, segment):
        path = self._root / segment.file.path
        return path.exists() and path.stat().st_size == segment.file.size

    def held(self, new: Sequence[Segment]) -> tuple[Segment, ...]:
        """Returns all segments of the replay, oldest first; `new` are those just written."""
        first_held = self._replay.num_added - len(self._replay)
        return tuple(segment for segment in (*self._segments, *new) if segment.end > first_held)

    def adopt(self, segments: Sequence[Segment]) -> None:
        """Notes the segments of a committed checkpoint, which the next `write` need not write."""
        self._segments = tuple(segments)

    def restore(
        self, workers: Sequence[WorkerPart], capacity: int, num_actions: int, priorities: Sequence[Priorities] = ()
    ) -> None:
        """Restores the replay. If the number of workers has changed, each takes its share of all transitions.

        These keep their priorities. New ones then get the largest that any worker knew of.

        Args:
          workers: those that wrote the checkpoint.
          capacity: of all workers together.
          priorities: of these workers; none if the replay samples uniformly.
        Raises:
          archive.Damaged: a file cannot be read.
          archive.Invalid: a file holds no transitions of this run.
        """
        self._replay.clear()
        report_at = time.monotonic() + _REPORT_SECONDS
        parts = self._parts(workers, capacity)
        for number, (_, segment, rows) in enumerate(parts):
            arrays = archive.read(self._root / segment.file.path)
            try:
                self._replay.add_packed(arrays, rows)
                count, actions = segment.end - segment.first, arrays["a_tm1"]
                if len(actions) != count or ((actions < 0) | (actions >= num_actions)).any():
                    raise ValueError(f"it must hold {count} transitions of actions below {num_actions}")
            except (KeyError, ValueError) as error:
                raise archive.Invalid(f"{self._root / segment.file.path} is none of this run: {error}") from None
            if time.monotonic() > report_at:
                _log.info("resume: replay, %d of %d files", number + 1, len(parts))
                report_at = time.monotonic() + _REPORT_SECONDS

        if priorities and parts:
            self._replay.restore_priorities(_priorities_of(parts, workers, priorities))

    def _parts(self, workers, capacity):
        """Returns for this worker, oldest first: the worker that wrote a segment, the segment, a slice of its rows."""
        if len(workers) == self._num_workers:
            worker = workers[self._worker_index]
            self._segments = worker.replay
            self._replay.begin_at(worker.replay[0].first if worker.replay else worker.num_added)
            return [(self._worker_index, segment, slice(None)) for segment in worker.replay]
        parts, dealt = [], 0
        all_of_them = [(i, segment) for i, worker in enumerate(workers) for segment in worker.replay]
        for i, segment in sorted(all_of_them, key=lambda pair: pair[1].end - workers[pair[0]].num_added):
            first_held = workers[i].num_added - capacity // len(workers)
            skipped = max(first_held - segment.first, 0)
            mine = (self._worker_index - dealt) % self._num_workers
            parts.append((i, segment, slice(skipped + mine, None, self._num_workers)))
            dealt += segment.end - segment.first - skipped
        return parts


def _priorities_of(parts, workers, priorities):
    """Returns the Priorities of the transitions of ReplaySegments._parts that are still held."""
    held = []
    for i, segment, rows in parts:
        numbers = np.arange(segment.first, segment.end)[rows]
        first_held = workers[i].num_added - len(priorities[i].held)
        held.append(priorities[i].held[numbers[numbers >= first_held] - first_held])
    return Priorities(np.concatenate(held), max(float(priorities[i].largest) for i, _, _ in parts))
