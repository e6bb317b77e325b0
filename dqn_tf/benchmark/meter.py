"""One line of progress of many runs at a time: how many have ended, how many env steps of all are made, time left."""

import concurrent.futures
import json
import logging
import pathlib
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Protocol, Self

import tqdm

from dqn_tf.benchmark.child import Result
from dqn_tf.config.schema import Config
from dqn_tf.persistence import manifest, rows

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0
_LINE_SECONDS = 60.0


class Runs(Protocol):
    """Where runs are, and how long."""

    def logdir(self, *cell: Any) -> pathlib.Path: ...

    def config(self, env: str, setting: str) -> tuple[Config, list[str]]: ...


class Meter:
    """A bar on a terminal; elsewhere a line as each run ends, and one a minute."""

    def __init__(self, runs: Runs, waiting: Sequence[tuple[str, str, int]]):
        """Args:
          waiting: the runs to be made.
        """
        self._runs, self._waiting = runs, list(waiting)
        self._total = {cell: runs.config(*cell[:2])[0].training.train_env_steps for cell in waiting}
        self._ended: set = set()
        self._bar = None

    def __enter__(self) -> Self:
        self._first = self._made()
        self._begin = self._told = time.monotonic()
        if sys.stderr.isatty():
            total = sum(self._total.values())
            self._bar = tqdm.tqdm(total=total, initial=self._first, unit="env step", unit_scale=True, smoothing=0.02)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def as_completed(self, futures: Collection[concurrent.futures.Future]) -> Iterator[concurrent.futures.Future]:
        """Yields futures as they end, and shows the progress in between."""
        left = set(futures)
        while left:
            done, left = concurrent.futures.wait(left, _LOOK_SECONDS, concurrent.futures.FIRST_COMPLETED)
            self._show()
            yield from done

    def ended(self, cell: tuple[str, str, int], result: Result) -> None:
        """Tells the result of a run."""
        self._ended.add(cell)
        env, setting, seed = cell
        returns = f"return {result.best:.4g}, last {result.last:.4g}"
        what = f"{env}, {setting}, seed {seed}: {returns}, {result.seconds:.0f} s"
        _log.info("run %d of %d ended: %s%s", len(self._ended), len(self._waiting), what, self._left())

    def _show(self):
        made = self._made()
        if self._bar is not None:
            self._bar.set_postfix_str(f"{len(self._ended)} of {len(self._waiting)} runs", refresh=False)
            self._bar.update(made - self._bar.n)
        elif time.monotonic() - self._told > _LINE_SECONDS:
            self._told = time.monotonic()
            share = 100 * made / max(sum(self._total.values()), 1)
            counts = len(self._ended), len(self._waiting)
            _log.info("%d of %d runs ended, %.0f %% of all env steps%s", *counts, share, self._left())

    def _left(self):
        made, seconds = self._made(), time.monotonic() - self._begin
        if made <= self._first:
            return ""
        minutes = (sum(self._total.values()) - made) * seconds / (made - self._first) / 60
        return f"; about {minutes:.0f} min left"

    def _made(self):
        """Returns the env steps of all runs to be made that have been made."""
        return sum(
            total if cell in self._ended else min(self._env_steps(cell), total) for cell, total in self._total.items()
        )

    def _env_steps(self, cell):
        logdir = self._runs.logdir(*cell)
        return max(_last_env_steps(logdir / rows.ROWS), manifest.newest(logdir / "checkpoints") or 0)


def _last_env_steps(path: pathlib.Path) -> int:
    """Returns the env steps of the last row of a metrics.jsonl, 0 if there is none. Reads its end only."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines: Iterable[bytes] = file.read().splitlines()[::-1]
    except OSError:
        return 0
    for line in lines:
        try:
            return int(json.loads(line)["env_steps"])
        except (ValueError, LookupError, TypeError):
            continue
    return 0
