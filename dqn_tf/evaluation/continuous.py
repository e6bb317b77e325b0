"""The evaluator task: evaluates each newest checkpoint of a run that others train, and ends when the run does."""

import logging
import time
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from dqn_tf.agent.q_network import QNetwork
from dqn_tf.cluster.clock import RunningClock
from dqn_tf.config import files, seeding
from dqn_tf.config.schema import Cluster, ConfigError
from dqn_tf.evaluation import followed_run
from dqn_tf.evaluation.evaluator import Evaluator, episode_limit
from dqn_tf.persistence import archive, best_model, manifest, model_files, own_files, rows
from dqn_tf.persistence.mirror import Unreachable
from dqn_tf.persistence.run_directory import RunDirectory, check_spaces
from dqn_tf.persistence.storage import FOLLOWER, Storage
from dqn_tf.process import reasons
from dqn_tf.process.exit_codes import EXIT_AGAIN
from dqn_tf.reporting import metrics

_log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
_POLL_SECONDS_OF_A_BUCKET = 15.0
_REPORT_SECONDS = 30.0


class ContinuousEvaluator:
    """Follows one run. What it finds is in the run's evaluator/: rows and TensorBoard's files."""

    def __init__(self, directory: RunDirectory, storage: Storage, typed: Mapping[str, Any], cluster: Cluster):
        """Prepares; nothing is read or written.

        Args:
          typed: values of the flags that were given, by name.
          cluster: settings of this process.
        """
        self._directory = directory
        self._storage = storage
        self._typed = typed
        self._cluster = cluster
        self._root = directory.checkpoints
        self._path = directory.path / FOLLOWER
        self._poll_seconds = _POLL_SECONDS_OF_A_BUCKET if storage.is_private else _POLL_SECONDS
        self._sign: tuple[int | None, int] = (None, -1)  # of life

    def run(self) -> int:
        """Returns the exit code: 0 if the run has ended, 143 if it has been silent for --round_timeout.

        Raises:
          ConfigError: the run is of another environment, or of one that is not trusted.
          Unreachable: the bucket does not answer at the start.
        """
        self._storage.open()
        self._storage.pull(f"{FOLLOWER}/*")
        run = self._wait(lambda: followed_run.find(self._directory, self._typed, self._cluster))
        if run is None:
            return EXIT_AGAIN
        config, evaluation, self._spec = run.config, run.config.evaluation, run.spec
        make = QNetwork(run.architecture, run.spec, config)
        self._open_files()
        self._threshold = run.spec.reward_threshold
        self._evaluator = Evaluator(
            run.environments, evaluation.eval_episodes, episode_limit(config, run.spec), evaluation.eval_epsilon
        )
        _log.info("evaluator: %s, %d episodes of each newest checkpoint", config.run.env, evaluation.eval_episodes)
        try:
            return self._follow(make.build(), make.policy(), config.run.seed)
        finally:
            self._evaluator.close()

    def _follow(self, network, policy, seed):
        while True:
            number = self._wait(self._unknown_or_end)
            if number is None:
                return EXIT_AGAIN
            if number < 0:
                _log.info("evaluator: the run has ended; results in %s/%s", self._directory.name, FOLLOWER)
                self._storage.push()
                self._storage.leave()
                return 0
            self._evaluate(number, network, policy, seed)

    def _open_files(self):
        for path in [self._path, *own_files.links(self._path)]:
            if path.is_symlink():
                raise ConfigError(f"{path} is a link, which is not followed for writing; remove it.")
        self._lock = RunDirectory(str(self._path))
        self._lock.acquire()  # two evaluators would write the same rows
        self._best = best_model.read(self._path)
        self._told = max((row["env_steps"] for row in rows.read(self._path / rows.ROWS)), default=-1)
        self._last = self._best.evaluated_env_steps if self._best else -1
        sizes = {path.name: path.stat().st_size for path in self._path.iterdir() if files.is_regular(path)}
        self._writer = metrics.MetricsWriter(self._path, sizes)

    def _wait(self, look):
        """Returns what `look` finds, None if the run has been silent for too long."""
        begin = report_at = time.monotonic()
        clock, heard = RunningClock(self._poll_seconds), 0.0
        timeout = self._cluster.round_timeout
        while True:
            try:
                self._storage.pull_news()
                found, sign = look(), (manifest.newest(self._root), self._storage.size("metrics.jsonl"))
            except Unreachable as error:
                found, sign = None, self._sign
                _log.warning("evaluator: %s: %s", error.filename, error.strerror)
            if found is not None:
                return found
            silence = clock.seconds() - heard
            if sign != self._sign:
                self._sign, heard, silence = sign, heard + silence, 0.0
            if timeout and silence > timeout:
                _log.error("nothing new for %d s (--round_timeout): leaving with exit code %d", timeout, EXIT_AGAIN)
                return None
            now = time.monotonic()
            if now - report_at > _REPORT_SECONDS:
                _log.info("evaluator: waiting for %s since %d s", self._directory.name, now - begin)
                report_at = now
            time.sleep(self._poll_seconds)

    def _unknown_or_end(self):
        """Returns the env steps of a checkpoint to evaluate, -1 if there will be none, None if there may be."""
        numbers = [number for number in manifest.numbers(self._root) if number > self._last]
        if numbers:
            return numbers[-1]
        config = followed_run.read(self._directory, self._typed)
        if config is None:
            return None
        is_over = self._directory.finished_env_steps() >= config.training.train_env_steps
        return -1 if is_over else None

    def _evaluate(self, number, network, policy, seed):
        place = manifest.directory(self._root, number)
        try:
            made = manifest.read(self._root, number)
            check_spaces(self._spec, made, self._directory.name)
            self._storage.pull_paths(self._root / file.path for file in made.model)
            for file in made.model:
                archive.check(self._root, file)
            model_files.read(tf.train.Checkpoint(network=network), self._root, made).expect_partial()
        except ConfigError:  # which is a ValueError
            raise
        except Unreachable as error:
            _log.warning("evaluator: %s: %s; trying again", error.filename, error.strerror)
            time.sleep(self._poll_seconds)
            return
        except (archive.Damaged, OSError, ValueError, tf.errors.OpError) as error:
            if self._is_there(number):  # else it was an old one, and has been removed meanwhile
                _log.warning("evaluator: %s cannot be evaluated: %s", place, reasons.reason(error))
                self._last = number
            return
        weights = network.get_weights()
        policy.load(weights)
        returns = self._evaluator.evaluate(policy, seeding.integer(seed, seeding.Stream.EVALUATION, number))
        mean = float(returns.mean())
        row = {"eval/return_mean": mean, "eval/return_max": float(returns.max())}
        if number > self._told:  # else it was killed before it could tell the chief
            self._writer.scalars(number, row)
            self._writer.flush()
            metrics.log_row(number, row)
            self._told = number
        wall_seconds = made.progress.get("wall_seconds", 0.0)
        self._best = best_model.add(self._best, number, mean, weights, self._threshold, wall_seconds)
        self._last = number
        try:
            best_model.write(self._path, self._best)
        except OSError as error:
            _log.warning("evaluator: %s: %s", error.filename or self._path / best_model.NAME, reasons.reason(error))
        self._storage.push_or_warn()

    def _is_there(self, number):
        path = manifest.location(self._root, number)
        return self._storage.size(path.relative_to(self._directory.path).as_posix()) >= 0
