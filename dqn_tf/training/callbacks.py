"""What a run tells while it goes, to whoever asks: the report of the run, tuning services, and a user's own code."""

import dataclasses
import logging
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dqn_tf.config import user_code
from dqn_tf.distribution.strategy import Placement
from dqn_tf.persistence.progress import Progress

STOP = "stop"
_log = logging.getLogger(__name__)


class Callback:
    """Is called as a run goes, on the chief. Override what you need; return dqn_tf.STOP to end the run.

    A run that is ended so is evaluated, saved and exported as if it were over; a longer one may resume from there. What
    a callback raises ends the run too, saved, and is raised to the caller of dqn_tf.train.
    """

    def on_round_end(self, progress: Progress) -> Any:
        """Is called after every round of acting and learning (--round_env_steps)."""

    def on_episode(self, progress: Progress, episode_return: float, length: int) -> Any:
        """Is called for each episode that has ended, of all workers, when rows are logged (--log_period).

        Args:
          episode_return: sum of undiscounted rewards.
          length: env steps.
        """

    def on_evaluation(self, progress: Progress, returns: np.ndarray) -> Any:
        """Is called after an evaluation during the run. `returns` is <float64>[episodes], undiscounted."""

    def on_checkpoint(self, progress: Progress, path: pathlib.Path) -> Any:
        """Is called when a checkpoint has been written to the directory `path`."""

    def on_end(self, summary: dict) -> Any:
        """Is called when the run has finished, with what is in summary.json."""


class StopAtReturn(Callback):
    """Ends the run when the mean return of an evaluation is at least `goal`."""

    def __init__(self, goal: float):
        self._goal = goal

    def on_evaluation(self, progress: Progress, returns: np.ndarray) -> Any:
        if not self.is_reached(progress):
            return None
        _log.info("stop: an evaluation has a mean return of %.4g, and --stop_at_return=%g", returns.mean(), self._goal)
        return STOP

    def is_reached(self, progress: Progress) -> bool:
        """Returns whether the last evaluation has reached it."""
        return progress.last_return is not None and progress.last_return >= self._goal


class Callbacks:
    """Calls those of a user, on the chief; all workers know what came of it.

    Attributes:
      is_ended: one of them wants the run to end.
      has_failed: one of them has raised.
      failure: what it raised; on the chief.
    """

    def __init__(
        self,
        callbacks: Sequence[Callback],
        goal: float | None,
        progress: Progress,
        placement: Placement,
        wall_seconds: Callable[[], float],
    ):
        """Prepares, on all workers, of which the chief's are called.

        Args:
          goal: mean return of an evaluation that ends the run, which `progress` may have reached; None: there is none.
        """
        stop = None if goal is None else StopAtReturn(goal)
        self._callbacks = (*callbacks, stop) if stop else tuple(callbacks)
        self._placement = placement
        self._is_used = bool(placement.max(float(bool(self._callbacks))))
        self._wall_seconds = wall_seconds
        self.has_failed = False
        self.is_ended = bool(stop and placement.max(float(placement.is_chief and stop.is_reached(progress))))
        self.failure: user_code.UserCodeFailure | None = None

    def tell(self, name: str, progress: Progress, *calls: tuple) -> None:
        """Calls a method of each with a copy of the progress, once with each of the arguments in `calls`."""
        if not self._is_used or self.has_failed:
            return
        wants = []
        if self._placement.is_chief:
            now = dataclasses.replace(progress, wall_seconds=self._wall_seconds())
            try:
                wants = [self._call(name, now, *arguments) for arguments in calls]
            except user_code.UserCodeFailure as failure:
                self.failure = failure
        code = self._placement.max(2.0 if self.failure else float(any(wants)))
        self.is_ended, self.has_failed = self.is_ended or code == 1, code == 2

    def end(self, summary: dict) -> None:
        """Calls `on_end` of each, on the chief. Raises UserCodeFailure."""
        self._call("on_end", dict(summary))

    def _call(self, name, *arguments):
        """Returns whether one of them returns STOP."""
        answers = []
        for callback in self._callbacks:
            try:
                answers.append(getattr(callback, name)(*arguments))
            except Exception as error:
                raise user_code.failure(f"callback {type(callback).__name__}.{name}", error) from error
        return any(isinstance(answer, str) and answer == STOP for answer in answers)
