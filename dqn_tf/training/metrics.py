"""What a run tells while it goes: TensorBoard, metrics.jsonl and progress. Only the chief has one."""

import contextlib
import json
import logging
import math
import os
import pathlib
import sys
import time
from collections.abc import Mapping

import tensorflow as tf
import tqdm

_log = logging.getLogger(__name__)

_ROWS = "metrics.jsonl"
_LINE_PERIOD_SECONDS = 10.0


class MetricsWriter:
    """Writes rows of scalars to metrics.jsonl and TensorBoard; the step is env steps of all workers."""

    def __init__(self, logdir: pathlib.Path, journal: Mapping[str, int]):
        """Opens the files to go on from `journal`: what was written later, by a run that was lost, is dropped."""
        self._logdir = logdir
        self._is_full = False
        for path in self._grown():
            if path.name not in journal:
                path.unlink()
            elif path.stat().st_size > journal[path.name]:
                os.truncate(path, journal[path.name])
        rows = logdir / _ROWS
        begins_line = not rows.exists() or not rows.stat().st_size or rows.read_bytes().endswith(b"\n")
        self._file = rows.open("a", encoding="utf-8")
        self._file.write("" if begins_line else "\n")
        self._events = tf.summary.create_file_writer(str(logdir))

    def _grown(self):
        return [path for pattern in (_ROWS, "events.out.tfevents.*") for path in self._logdir.glob(pattern)]

    def scalars(self, env_steps: int, values: Mapping[str, float]) -> None:
        """Writes one row."""
        finite = {tag: value if math.isfinite(value) else None for tag, value in values.items()}  # JSON has no NaN
        with self._warned():
            self._file.write(json.dumps({"env_steps": env_steps, **finite}) + "\n")
            with self._events.as_default():
                for tag, value in values.items():
                    tf.summary.scalar(tag, value, step=env_steps)

    def text(self, tag: str, text: str) -> None:
        """Writes text, markdown, to TensorBoard."""
        with self._events.as_default():
            tf.summary.text(tag, text, step=0)

    def flush(self) -> None:
        with self._warned():
            self._file.flush()
            self._events.flush()

    def journal(self) -> dict[str, int]:
        """Returns the sizes of all files of rows, by name, all rows so far in them."""
        self.flush()
        return {path.name: path.stat().st_size for path in self._grown()}

    def close(self) -> None:
        with self._warned():
            self._file.close()
            self._events.close()

    @contextlib.contextmanager
    def _warned(self):
        """Returns a context in which a disk that takes no rows is a warning, once: training goes on."""
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            if not self._is_full:
                _log.warning("metrics cannot be written to %s: %s", self._logdir, str(error).splitlines()[0])
            self._is_full = True


def read_rows(path: pathlib.Path) -> list[dict]:
    """Returns the rows of a metrics.jsonl, [] where there is none; a last line that was cut is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


class ProgressDisplay:
    """A bar on a terminal, a line every ten seconds elsewhere. The launcher decides for its workers."""

    def __init__(self, total_env_steps: int, env_steps: int):
        is_bar = os.environ.get("DQN_TF_PROGRESS", "bar" if sys.stderr.isatty() else "lines") == "bar"
        self._total = total_env_steps
        self._bar = None
        if is_bar:
            self._bar = tqdm.tqdm(total=total_env_steps, initial=env_steps, unit="step", unit_scale=True, smoothing=0.1)
        self._last_line = time.perf_counter()

    def update(self, env_steps: int, notes: Mapping[str, str]) -> None:
        """Shows how far the run is, with `notes` such as the recent return."""
        if self._bar is not None:
            self._bar.set_postfix(notes, refresh=False)
            self._bar.update(min(env_steps, self._total) - self._bar.n)
        elif time.perf_counter() - self._last_line > _LINE_PERIOD_SECONDS:
            self._last_line = time.perf_counter()
            text = ", ".join(f"{name} {value}" for name, value in notes.items())
            _log.info("%d of %d env steps, %s", env_steps, self._total, text)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
