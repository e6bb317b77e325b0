"""What the chief tells of a run: rows, TensorBoard, progress, and at the end summary and reward curve."""

import collections
import logging
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from dqn_tf.config import settings
from dqn_tf.config.schema import Config
from dqn_tf.persistence import rows
from dqn_tf.persistence.progress import Progress
from dqn_tf.persistence.run_directory import RunDirectory
from dqn_tf.persistence.storage import FOLLOWER, Storage
from dqn_tf.persistence.versions import versions
from dqn_tf.process import reasons
from dqn_tf.reporting import hyperparameters, reward_curve, trend
from dqn_tf.reporting.metrics import MetricsWriter, ProgressDisplay

_log = logging.getLogger(__name__)


class Reporter:
    """Reports one run. On workers that are not the chief every method but `wall_seconds` does nothing."""

    def __init__(
        self,
        config: Config,
        directory: RunDirectory,
        storage: Storage,
        progress: Progress,
        num_updates: int,
        is_chief: bool,
        started: float,
        frames_per_step: int | None,
        journal: Mapping[str, int],
    ):
        """Opens the run's files to continue from `progress` and `num_updates`.

        Args:
          journal: sizes of the files that are continued, as `journal` gave them; {} if the run begins.
          started: time.time() when the command was given.
          frames_per_step: emulator frames of an env step, None if there is no such thing.
        """
        self._frames_per_step = frames_per_step
        self._config = config
        self._directory = directory
        self._storage = storage
        self._command_time = started
        self._started = started - progress.wall_seconds
        self._is_chief = is_chief
        self._recent: collections.deque[float] = collections.deque(maxlen=reward_curve.WINDOW)
        self._rate = _Rate(progress.env_steps, num_updates)
        self._last_evaluation = ""
        self._last_row: dict[str, float] = {}
        if is_chief:
            self._writer = MetricsWriter(directory.path, journal)
            storage.drop(self._writer.dropped)
            if not journal:
                self._writer.text("config", _markdown(config))
            self._display = ProgressDisplay(config.training.train_env_steps, progress.env_steps)
            self._tuner = hyperparameters.Tuner()

    def wall_seconds(self) -> float:
        """Returns seconds since the command was given, those of the runs that this one resumes included."""
        return time.time() - self._started

    def journal(self) -> dict[str, int]:
        """Returns the sizes of the files that grow, by name, with all rows so far in them.

        Where somebody has removed the run's directory it is made anew. The chief's alone. Raises OSError, ConfigError.
        """
        if self._directory.is_gone():
            _log.warning("%s was removed; going on in a new one, without the rows so far", self._directory.path)
            self._directory.release()
            self._directory.acquire()
            self._directory.begin(self._config)
        return self._writer.journal()

    def first_update(self) -> None:
        """Logs how long the start took: imports, tracing and compilation."""
        if self._is_chief:
            _log.info("first update: %.1f s after the command", time.time() - self._command_time)

    def show(self, progress: Progress) -> None:
        """Shows how far the run is."""
        if not self._is_chief:
            return
        notes = {}
        if self._recent:
            notes["return"] = f"{np.mean(self._recent):.1f}"
        if self._last_evaluation:
            notes["eval"] = self._last_evaluation
        self._display.update(progress.env_steps, notes)

    def log(self, progress: Progress, episodes: np.ndarray, metrics: dict[str, float], num_updates: int) -> None:
        """Writes the episodes [E, 3] (env step, return, length) that ended since the last call, and the metrics."""
        env_rate, update_rate = self._rate.since_last(progress.env_steps, num_updates)
        if not self._is_chief:
            return
        for step, episode_return, length in episodes:
            self._recent.append(episode_return)
            row = {"train/episode_return": float(episode_return), "train/episode_length": float(length)}
            self._writer.scalars(int(step), row)
        rates = {"time/env_steps_per_second": env_rate, "time/updates_per_second": update_rate}
        if self._frames_per_step:
            rates["time/frames"] = float(progress.env_steps * self._frames_per_step)
            rates["time/frames_per_second"] = env_rate * self._frames_per_step
        row = {**metrics, **rates}
        self._writer.scalars(progress.env_steps, row)
        self._writer.flush()
        self._storage.push_now_and_then()
        if self._recent:
            row["train/episode_return"] = float(np.mean(self._recent))
        self._last_row = row
        self._display.tell(progress.env_steps, row)

    def evaluated(self, progress: Progress, returns: np.ndarray) -> None:
        """Writes an evaluation's returns [E]."""
        self._last_evaluation = f"{returns.mean():.1f}"
        row = {"eval/return_mean": float(returns.mean()), "eval/return_max": float(returns.max())}
        self._writer.scalars(progress.env_steps, row)
        self._writer.flush()
        self._display.tell(progress.env_steps, row, is_due=True)
        self._tuner.report(row["eval/return_mean"], progress.env_steps)

    def finish(
        self,
        progress: Progress,
        returns: np.ndarray,
        num_updates: int,
        num_replicas: int,
        num_workers: int,
        threshold: float | None,
        waits: dict[str, float],
    ) -> dict:
        """Writes the last rows and reward_curve.png; returns the summary of the best model's fresh `returns` [E].

        A curve that cannot be drawn is a warning.

        Args:
          waits: shares of the rounds that the actor and the learner waited, {} if that is not known.
        """
        self._display.tell(progress.env_steps, self._last_row, is_due=True)
        self._display.close()
        self._writer.close()
        env_rate, update_rate = self._rate.overall(progress.env_steps, num_updates)
        summary = {
            "env": self._config.run.env,
            "seed": self._config.run.seed,
            "strategy": self._config.cluster.strategy,
            "num_workers": num_workers,
            "num_replicas": num_replicas,
            "env_steps": progress.env_steps,
            "updates": num_updates,
            "episodes": progress.num_episodes,
            "wall_seconds": self.wall_seconds(),
            "env_steps_per_second": env_rate,
            "updates_per_second": update_rate,
            "frames_per_env_step": self._frames_per_step,
            "frames": progress.env_steps * self._frames_per_step if self._frames_per_step else None,
            "actor_wait_share": waits.get("actor_wait_share"),
            "learner_wait_share": waits.get("learner_wait_share"),
            "eval_return_mean": float(returns.mean()),
            "eval_return_std": float(returns.std()),
            "eval_return_max": float(returns.max()),
            "eval_episodes": len(returns),
            "last_eval_return_mean": progress.last_return,
            "threshold": threshold,
            "threshold_env_steps": progress.threshold_env_steps,
            "threshold_seconds": progress.threshold_seconds,
            "versions": versions(),
        }
        read = self._all_rows()
        if progress.env_steps >= self._config.training.train_env_steps:  # and was not ended before
            self._tell_trend([row["eval/return_mean"] for row in read if row.get("eval/return_mean") is not None])
        try:
            figure = reward_curve.draw(read, reward_curve.title(self._config), threshold)
            reward_curve.save(figure, self._directory.path / "reward_curve.png")
        except Exception as error:  # the result stands without a picture of the way there
            _log.warning("reward_curve.png cannot be drawn: %s: %s", type(error).__name__, reasons.reason(error))
        return summary

    def _all_rows(self):
        """Returns all rows of the run, those of an evaluator task among them, by env steps."""
        read = rows.read(self._directory.path / rows.ROWS)
        mine = {row["env_steps"] for row in read if "eval/return_mean" in row}
        others = rows.read(self._directory.path / FOLLOWER / rows.ROWS)  # an evaluator's, if there is one
        read += [row for row in others if row["env_steps"] not in mine]
        return sorted(read, key=lambda row: row["env_steps"])

    def _tell_trend(self, returns):
        found = trend.find(returns)
        if found and found.is_improving:
            _log.info(
                "still improving: evaluations of the last third of the run have a mean of %.4g, those of the third "
                "before %.4g; the same command with a larger --train_env_steps goes on from here",
                *(found.last, found.before),
            )

    def finished(self, summary: Mapping[str, Any]) -> None:
        """Tells the result, which has been delivered."""
        self._tuner.report(summary["eval_return_mean"], summary["env_steps"])
        speed = summary["env_steps_per_second"]
        _log.info(
            "result: return %.1f +- %.1f over %d episodes, %d env steps in %.1f s%s, in %s",
            summary["eval_return_mean"],
            summary["eval_return_std"],
            summary["eval_episodes"],
            summary["env_steps"],
            summary["wall_seconds"],
            "" if speed is None else f" ({speed:.0f} env steps/s)",
            self._directory.name,
        )


class _Rate:
    """Env steps and updates per second; the overall ones without the first call of the update, which compiles."""

    def __init__(self, env_steps, num_updates):
        self._begin = self._last = (time.perf_counter(), env_steps, num_updates)
        self._first = None

    def since_last(self, env_steps, num_updates):
        now = (time.perf_counter(), env_steps, num_updates)
        rates = _rates(self._last, now)
        self._last = now
        if self._first is None and num_updates > self._begin[2]:
            self._first = now
        return rates

    def overall(self, env_steps, num_updates):
        if env_steps == self._begin[1]:
            return None, None  # all was done before, by another command
        begin = self._begin if self._first in (None, self._last) else self._first  # a short run has no later row
        return _rates(begin, (self._last[0], env_steps, num_updates))


def _rates(before, now):
    seconds = max(now[0] - before[0], 1e-9)
    return (now[1] - before[1]) / seconds, (now[2] - before[2]) / seconds


def _markdown(config):
    lines = ["| setting | value |", "|---|---|"]
    for section, leaves in settings.to_json(config).items():
        lines += [f"| {section}.{name} | {settings.to_text(value)} |" for name, value in leaves.items()]
    return "\n".join(lines)
