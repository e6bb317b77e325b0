"""What a run tells while it goes: TensorBoard, metrics.jsonl and progress. Only the chief has one."""

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


_LINE_PERIOD_SECONDS = 10.0


class MetricsWriter:
    """Writes rows of scalars to metrics.jsonl and TensorBoard; the step is env steps of all workers."""

    def __init__(self, logdir: pathlib.Path, env_steps: int):
        """Opens the files to go on from `env_steps`: later rows, of a run that was lost, are dropped."""
        path = logdir / "metrics.jsonl"
        kept = [row for row in read_rows(path) if row["env_steps"] <= env_steps] if env_steps else []
        temporary = logdir / ".metrics.jsonl.new"
        temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        os.replace(temporary, path)
        self._file = path.open("a", encoding="utf-8")
        self._events = tf.summary.create_file_writer(str(logdir))

    def scalars(self, env_steps: int, values: Mapping[str, float]) -> None:
        """Writes one row."""
        finite = {tag: value if math.isfinite(value) else None for tag, value in values.items()}  # JSON has no NaN
        self._file.write(json.dumps({"env_steps": env_steps, **finite}) + "\n")
        with self._events.as_default():
            for tag, value in values.items():
                tf.summary.scalar(tag, value, step=env_steps)

    def text(self, tag: str, text: str) -> None:
        """Writes text, markdown, to TensorBoard."""
        with self._events.as_default():
            tf.summary.text(tag, text, step=0)

    def flush(self) -> None:
        self._file.flush()
        self._events.flush()

    def close(self) -> None:
        self._file.close()
        self._events.close()


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
